r"""Units of answers: what may follow a number without changing its value, from a closed list.

`5\text{ cm}` is 5 with the unit `cm`. Text that is neither a known unit nor plain words that count
something (`5\text{ apples}`) is not a unit and stays part of the answer: `5\text{ sixths}`,
`5\text{,000}`, `5\text{ feet 3}`, `5\text{i}`. Products and quotients of units are equal in every
notation: `\text{m/s}^2`, `\frac{\text{m}}{\text{s}^2}`, `\text{m per second squared}`.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

PERCENT = "\\%"
DEGREE = "degree"
_UNITS = {
    "inch": "inch inches in", "foot": "foot feet ft", "yard": "yard yards yd yds",
    "mile": "mile miles mi", "cent": "cent cents", "mm": "mm millimeter millimeters millimetre",
    "cm": "cm centimeter centimeters centimetre centimetres", "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres", "kg": "kg kilogram kilograms kgs",
    "g": "g gram grams", "mg": "mg milligram milligrams", "ton": "ton tons tonne tonnes",
    "ounce": "ounce ounces oz", "liter": "liter liters litre litres l", "ml": "ml milliliter",
    "hour": "hour hours hr hrs h", "minute": "minute minutes min mins",
    "second": "second seconds sec secs s", "day": "day days", "week": "week weeks",
    "month": "month months", "year": "year years yr yrs", DEGREE: "degree degrees deg",
    "radian": "radian radians rad", "dollar": "dollar dollars usd", "euro": "euro euros eur",
    "pound": "pound pounds lb lbs", "rupee": "rupee rupees", "watt": "watt watts",
    "joule": "joule joules", "volt": "volt volts", "newton": "newton newtons",
    "hz": "hz hertz", "coulomb": "coulomb coulombs", "mole": "mole moles mol",
    "kelvin": "kelvin kelvins", "am": "am", "pm": "pm",
    PERCENT: "percent pct percentage", "": "unit units",
}  # fmt: skip
_KNOWN = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_SPEEDS = {"mph": "mile per hour", "kph": "km per hour", "fps": "foot per second"}
_CAPITALS = {"N": "newton", "J": "joule", "W": "watt", "V": "volt", "C": "coulomb"}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_AFTER = {"squared": 2, "cubed": 3}
_LONG_WORDS = {word for word in [*_KNOWN, *_SPEEDS, *_POWERS] if len(word) > 1}
# Each smaller unit with its number in the larger one.
_PARTS = {
    ("hour", "minute"): 60, ("minute", "second"): 60, ("day", "hour"): 24, ("week", "day"): 7,
    ("year", "month"): 12, ("foot", "inch"): 12, ("yard", "foot"): 3, ("dollar", "cent"): 100,
    ("euro", "cent"): 100, ("pound", "ounce"): 16, ("m", "cm"): 100, ("cm", "mm"): 10,
    ("km", "m"): 1000, ("kg", "g"): 1000, ("hour", "second"): 3600, (DEGREE, "'"): 60,
    ("'", "''"): 60,
}  # fmt: skip
# Words that change the meaning of a number in front of them, or that follow a sentence.
_NO_UNIT = re.compile(
    r"\b(or|and|nor|but|not?|more|less|fewer|greater|than|at|least|most|over|under|above|below|about|"
    r"approximately|nearly|almost|if|when|for|where|is|are|to|mod|modulo|base|remainder|minus|plus|"
    r"times|divided|by|half|halves|thirds?|quarters?|\w+ths?|tens?|hundreds?|thousands?|millions?|"
    r"billions?|trillions?|lakhs?|crores?|dozens?|scores?|gross|except|pi|sqrt|infinity|"
    r"factorial|sin|cos|tan|log|ln|exp|octal|hex|hexadecimal|binary|decimal|choose|negative|positive|"
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|point|even|odd|root|"
    r"degrees? below|ago|off|old)\b"
)
_POWER = r"(?:\^\{-?[1-4]\})?"
_NAMED = r"\\text\{[^{}\d]*\}" + _POWER
_SEVERAL = rf"{_NAMED}(?: ?(?:/|\\cdot)? ?{_NAMED}){{0,4}}"
_TAIL = re.compile(
    r"(?P<percent>\\%)$|(?P<degree>\^\{\\circ\} ?(?:\\text\{ ?)?(?P<scale>[CF]?) ?\}?)$"
    rf"|(?P<quotient>\\frac\{{ ?(?P<top>{_SEVERAL}) ?\}}\{{ ?(?P<bottom>{_SEVERAL}) ?\}})$"
    rf"|(?P<text>{_SEVERAL})$"
    r"|(?:(?<=[\d}])|(?<=\\pi))(?P<words> ?[A-Za-z]+(?:[ /][A-Za-z]+){0,3}(?:\^\{[23]\})?)$"
)
_WORD = re.compile(r"([a-z]+)\.?(?:\^\{?(-?\d)\}?)?")
_CURRENCY = re.compile(
    r"(-?)(?:US|USD|EUR|GBP)?(?: ?(?P<symbol>\\\$|[£€¥₹])|(?<=[DRP]) ?(?=\d))(-?)"
)
_CURRENCIES = {"\\$": "dollar", "£": "pound sterling", "€": "euro", "¥": "yen", "₹": "rupee"}
_CODES = {"USD": "dollar", "EUR": "euro", "GBP": "pound sterling"}
_QUANTITY = re.compile(
    r"(\d{1,12}(?:\.\d{1,9})?) ?([A-Za-z]+\.?|'{1,2}|\^\{\\circ\}) ?,? ?(?:and )?"
)


def take_unit(text: str) -> tuple[str, str]:
    """Returns the text without its unit, and the unit in the singular."""
    units = []
    if found := _CURRENCY.match(text):
        code = _CODES.get(found.group().strip("- ")[:3], "")
        units = [_CURRENCIES.get(found["symbol"] or "", code)]
        text = found[1] + found[3] + text[found.end() :]
    for _ in range(3):
        found = _TAIL.search(text)
        unit = _unit(text[: found.start()], found) if found else None
        if found is None or unit is None:
            break
        text, units = text[: found.start()].rstrip(), [unit, *units]
    return text, " ".join(filter(None, units))


def agree(one: str, two: str) -> bool:
    """Returns whether two units are compatible; a missing unit or temperature scale always is."""
    scales = one.split()[:1] == two.split()[:1] == [DEGREE] and DEGREE in (one, two)
    return one == two or not (one and two) or scales


def compound(text: str) -> tuple[Fraction, str] | None:
    r"""Reads a quantity in several units: `2\text{ h }30\text{ min}` is 5/2 `hour`."""
    flat = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    flat, negative = " ".join(flat.split()).removeprefix("-"), text.startswith("-")
    end, parts = 0, []
    while found := _QUANTITY.match(flat, end):
        end = found.end()
        mark = DEGREE if found[2].startswith("^") else found[2].lower().rstrip(".")
        parts.append((Fraction(found[1]), _KNOWN.get(mark, mark)))
    if end < len(flat) or len(parts) < 2:
        return None
    total = Fraction(0)
    for at in range(len(parts) - 1, 0, -1):
        ratio = _PARTS.get((parts[at - 1][1], parts[at][1]))
        if ratio is None or parts[at][0] + total >= ratio:
            return None
        total = (parts[at][0] + total) / ratio
    total += parts[0][0]
    return (-total if negative else total), parts[0][1]


def _unit(head: str, found: re.Match[str]) -> str | None:
    """Returns the unit that follows the head, or None if it is not a unit."""
    if not re.search(r"\d", head):
        return None
    if found["percent"]:
        return PERCENT
    if found["degree"]:
        return f"{DEGREE} {found['scale']}".strip()
    if found["quotient"]:
        return _product(f"{_phrase(found['top'])} per {_phrase(found['bottom'])}")
    if found["words"]:
        # Letters after a number are variables unless they are clearly words.
        first = found["words"].strip().lower().partition(" ")[0].partition("/")[0].partition("^")[0]
        spaced = found["words"].startswith(" ") and len(first) > 3
        if not re.search(r"\d\}?$|\\pi$", head) or not (first in _LONG_WORDS or spaced):
            return None
    return _product(_phrase(found["text"] or found["words"]))


def _phrase(tail: str) -> str:
    r"""The words of a tail: `\text{kg}\cdot\text{m}/\text{s}^{2}` is `kg m per s^2`."""
    words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", tail).replace(r"\cdot", " ")
    words = re.sub(r" *\^\{?(-?\d)\}?", r"^\1", words)
    words = re.sub(r"\b[NJWVC]\b", lambda found: _CAPITALS[found[0]], words)
    return " ".join(words.replace("/", " per ").lower().split()).strip(" .")


def _product(phrase: str) -> str | None:
    """The unit in one spelling, such as `kg m per square second`; None if it is none."""
    words = [piece for word in phrase.split() for piece in _SPEEDS.get(word, word).split()]
    if len(words) > 7 or _NO_UNIT.search(phrase):
        return None
    powers: Counter[str] = Counter()
    sign, prefix, last = 1, 1, ""
    for word in words:
        found = _WORD.fullmatch(word)
        base = found[1] if found else ""
        if found is None or (base in _AFTER and not last):
            return None
        if base == "per":
            sign = -1
        elif base in _POWERS and word != words[-1]:
            prefix = _POWERS[base]
        elif base in _AFTER:
            powers[last] *= _AFTER[base]
        elif _counts(base):
            name = _KNOWN.get(base, base)
            last = name[:-1] if name == base and name[3:].endswith("s") else name
            powers[last] += sign * prefix * int(found[2] or 1)
            sign, prefix = 1, 1
        else:
            return None
    names = {1: "", 2: "square ", 3: "cubic "}
    if any(abs(power) not in names for power in powers.values()):
        return None
    return " ".join(
        ("per " if power < 0 else "") + names[abs(power)] + name
        for name, power in sorted(powers.items(), key=lambda item: (item[1] < 0, item[0]))
        if name not in ("", "square")
    )


def _counts(word: str) -> bool:
    """Whether the word can stand after a number: a known unit, or letters of a longer word."""
    return word in _KNOWN or (len(word) > 2 and word.isascii() and word.isalpha())
