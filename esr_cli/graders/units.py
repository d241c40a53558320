r"""Units of answers: what may follow a number without changing its value, from a closed list.

`5\text{ cm}` is 5 with the unit `cm`. Text that is neither a known unit nor plain words that count
something (`5\text{ apples}`) is not a unit and stays part of the answer: `5\text{ sixths}`,
`5\text{,000}`, `5\text{ feet 3 inches}`, `5\text{i}`.
"""

from __future__ import annotations

import re

PERCENT = "\\%"
DEGREE = "degree"
_UNITS = {
    "inch": "inch inches in", "foot": "foot feet ft", "yard": "yard yards yd yds",
    "mile": "mile miles mi", "cent": "cent cents", "mm": "mm millimeter millimeters",
    "cm": "cm centimeter centimeters centimetre centimetres", "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres", "kg": "kg kilogram kilograms",
    "g": "g gram grams", "mg": "mg milligram milligrams", "ton": "ton tons tonne tonnes",
    "ounce": "ounce ounces oz", "liter": "liter liters litre litres l", "ml": "ml milliliter",
    "hour": "hour hours hr hrs h", "minute": "minute minutes min mins",
    "second": "second seconds sec secs s", "day": "day days", "week": "week weeks",
    "month": "month months", "year": "year years yr yrs", DEGREE: "degree degrees deg",
    "radian": "radian radians rad", "dollar": "dollar dollars usd", "euro": "euro euros eur",
    "pound": "pound pounds lb lbs", "rupee": "rupee rupees", "square": "square sq",
    "cubic": "cubic cu", "watt": "watt watts w", "joule": "joule joules j", "volt": "volt volts v",
    "newton": "newton newtons", "hz": "hz hertz", "am": "am", "pm": "pm", "per": "per",
    PERCENT: "percent pct percentage", "": "unit units",
}  # fmt: skip
_KNOWN = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_SPEEDS = {"mph": "mile per hour", "kph": "km per hour", "fps": "foot per second"}
_LONG_UNIT_WORDS = {word for word in [*_KNOWN, *_SPEEDS] if len(word) > 1}
# Words that change the meaning of a number in front of them, or that follow a sentence.
_NO_UNIT = re.compile(
    r"\b(or|and|nor|but|not?|more|less|fewer|greater|than|at|least|most|over|under|above|below|about|"
    r"approximately|nearly|almost|if|when|for|where|is|are|to|mod|modulo|base|remainder|minus|plus|"
    r"times|divided|by|half|halves|thirds?|quarters?|\w+ths?|tens?|hundreds?|thousands?|millions?|"
    r"billions?|trillions?|lakhs?|crores?|dozens?|scores?|gross|squared|cubed|except|pi|sqrt|infinity|"
    r"factorial|sin|cos|tan|log|ln|exp|octal|hex|hexadecimal|binary|decimal|choose|negative|positive|"
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|point|even|odd|root|"
    r"degrees? below|ago|off|old)\b"
)
_UNIT = re.compile(
    r"(?P<percent>\\%)$|(?P<degree>\^\{\\circ\}(?: ?(?:\\text\{ ?)?[CF] ?\}?)?)$"
    r"|\\text\{(?P<text>[^{}]*)\}(?:\^\{(?P<power>[23])\})?$"
    r"|(?:(?<=[\d}])|(?<=\\pi))(?P<words> ?[A-Za-z]+(?:[ /][A-Za-z]+){0,3})"
    r"(?:\^\{(?P<powers>[23])\})?$"
)
_QUOTIENT = re.compile(r"\\text\{([^{}]*)\}(?:/|\\cdot ?)\\text\{([^{}]*)\}(?:\^\{-1\})?$")
_CURRENCY = re.compile(
    r"(-?)(?:US|USD|EUR|GBP)?(?: ?(?P<symbol>\\\$|[£€¥₹])|(?<=[DRP]) ?(?=\d))(-?)"
)
_CURRENCIES = {"\\$": "dollar", "£": "pound sterling", "€": "euro", "¥": "yen", "₹": "rupee"}
_CODES = {"USD": "dollar", "EUR": "euro", "GBP": "pound sterling"}


def take_unit(text: str) -> tuple[str, str]:
    """Returns the text without its unit, and the unit in the singular."""
    units = []
    if found := _CURRENCY.match(text):
        code = _CODES.get(found.group().strip("- ")[:3], "")
        units = [_CURRENCIES.get(found["symbol"] or "", code)]
        text = found[1] + found[3] + text[found.end() :]
    if found := _QUOTIENT.search(text):
        text = f"{text[: found.start()]}\\text{{{found[1]} per {found[2]}}}"
    for _ in range(3):
        found = _UNIT.search(text)
        unit = _unit(text[: found.start()], found) if found else None
        if found is None or unit is None:
            break
        text, units = text[: found.start()].rstrip(), [unit, *units]
    return text, " ".join(filter(None, units))


def _unit(head: str, found: re.Match[str]) -> str | None:
    """Returns the unit that follows the head, or None if it is not a unit."""
    if not re.search(r"\d", head):
        return None
    if found["percent"] or found["degree"]:
        return PERCENT if found["percent"] else DEGREE
    phrase = (found["text"] or found["words"]).lower().replace("/", " per ").strip(" .")
    words = [piece for word in phrase.split() for piece in _SPEEDS.get(word, word).split()]
    if len(words) > 5 or _NO_UNIT.search(phrase) or not all(map(_counts, words)):
        return None
    if found["words"]:
        # Letters after a number are variables unless they are clearly words.
        spaced = found["words"].startswith(" ") and len(words[0]) > 3
        if not re.search(r"\d\}?$|\\pi$", head) or not (words[0] in _LONG_UNIT_WORDS or spaced):
            return None
    prefix = {"2": "square ", "3": "cubic "}.get(found["power"] or found["powers"], "")
    names = (_KNOWN.get(word, word[:-1] if word[3:].endswith("s") else word) for word in words)
    name = " ".join(filter(None, names))
    return "" if name in ("square", "cubic") else prefix + name


def _counts(word: str) -> bool:
    """Whether the word can stand after a number: a known unit, or letters of a longer word."""
    return word.strip(".") in _KNOWN or (len(word) > 2 and word.isascii() and word.isalpha())
