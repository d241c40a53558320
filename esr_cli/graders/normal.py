r"""Maps answers that a careful human would grade as equal to one spelling, without algebra.

The rules follow the MATH and Minerva normalisations (Hendrycks et al. 2021, Lewkowycz et al. 2022):
bracket sizes, `\dfrac`, `\frac12`, blanks, units, `%`, `\$`, degrees, thousands commas, `x=`, `.5`.
Unlike theirs, units and names are kept separately instead of being discarded: `5` equals
`5\text{ cm}` and `x=5`, but `5\text{ cm}` does not equal `5\text{ m}`, nor `x=5` `y=5`.

A number (integer, finite decimal, fraction, mixed number) is kept as an exact fraction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

PERCENT = "\\%"
_SYMBOLS = str.maketrans(
    {
        "\0": " ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "~": " ",
        "\u2212": "-", "\u2013": "-", "\u00d7": r"\cdot ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
        "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "\u222a": r"\cup ", "∩": r"\cap ",
        "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "≈": r"\approx ",
        "°": r"^{\circ}", "θ": r"\theta ", "²": "^{2}", "³": "^{3}", "€": r"\$", "“": "", "”": "",
    }
)  # fmt: skip
_SAME = {
    "frac": "dfrac tfrac cfrac", "binom": "dbinom tbinom", "leq": "le leqslant",
    "geq": "ge geqslant", "neq": "ne", "cdot": "times ast", "emptyset": "varnothing",
    "text": "textbf textit textrm textnormal mbox hbox mathrm", "circ": "degree",
    "{": "lbrace", "}": "rbrace",
}  # fmt: skip
_RENAMED = {other: f"\\{name}" for name, others in _SAME.items() for other in others.split()} | {
    "lvert": "|", "rvert": "|", "vert": "|", "lbrack": "[", "rbrack": "]",
    **dict.fromkeys([",", ";", ":", ">", " ", "\n", "quad", "qquad", "space"], " "),
    **dict.fromkeys(["left", "right", "middle", "displaystyle", "textstyle", "limits"], ""),
    **dict.fromkeys(["big", "bigl", "bigr", "Big", "Bigl", "Bigr", "bigg", "Bigg"], ""),
    **dict.fromkeys(["(", ")", "[", "]"], ""),
}  # fmt: skip
_ARGUMENTS = {"\\frac": 2, "\\binom": 2, "\\sqrt": 1, "^": 1, "_": 1}

_COMMAND = re.compile(r"\\(?:left|right)\s*\.|\\!\s*|\\([A-Za-z]+|.)|\$|%|\*", re.S)
_PIECE = re.compile(
    r"\\sqrt\s*\[[^][{}]{1,20}\]|\\[A-Za-z]+|\\.|[{}^_]|-?\d+|[^\\{}^_\d-]+|-", re.S
)
_THOUSANDS = re.compile(r"(?<![\d.,(\[])(?<!\\\{)[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}(?: \d{3})+")
_BARE_POINT = re.compile(r"(?<![\d.])\.(?=\d)")
_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d*(?![\d.])")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_REDUNDANT_SPACE = re.compile(r"(?<![A-Za-z\d]) | (?![A-Za-z\d])")
# A list comma that looks like a thousands comma; real ones have been removed before.
_LIST_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_IMPLIED_TIMES = re.compile(r"(?<=\d) (?!(?:and|or)\b)(?=[A-Za-z])")
_DECIMAL_BASE = re.compile(r"(\d+)_\{10\}")
_UNIT = re.compile(
    r"(?P<percent>\\%)$|(?P<degree>\^\{\\circ\})$|\\text\{(?P<text>[^{}]*)\}(?:\^\{(?P<power>[23])\})?$"
    r"|(?<=[\d}])(?P<words> ?[A-Za-z]+(?: [A-Za-z]+){0,3})(?:\^\{(?P<powers>[23])\})?$"
)
_UNITS = {
    "inch": "inch inches in", "foot": "foot feet ft", "mile": "mile miles mi", "cent": "cent cents",
    "cm": "cm centimeter centimeters centimetre centimetres", "m": "m meter meters metre metres",
    "mm": "mm millimeter millimeters", "km": "km kilometer kilometers kilometre kilometres",
    "kg": "kg kilogram kilograms", "g": "g gram grams", "hour": "hour hours hr hrs h",
    "minute": "minute minutes min mins", "second": "second seconds sec secs s", "day": "day days",
    "degree": "degree degrees deg", "dollar": "dollar dollars usd", "pound": "pound pounds lb lbs",
    "square": "square sq", "cubic": "cubic cu", PERCENT: "percent pct", "": "unit units",
}  # fmt: skip
_KNOWN = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_LONG_UNIT_WORDS = {word for word in _KNOWN if len(word) > 1}
# Words that change the meaning of a number in front of them.
_NO_UNIT = re.compile(
    r"\b(or|and|nor|but|not?|more|less|fewer|greater|than|at|least|most|over|under|above|below|about|"
    r"approximately|nearly|almost|if|when|for|where|is|are|to|mod|base|remainder|minus|plus|times|"
    r"divided|by|half|halves|thirds?|fourths?|fifths?|tenths?|hundredths?|thousand|million|billion|"
    r"trillion|hundred|dozen|squared|cubed|except|pi|sqrt|infinity)\b"
)
_NAME = re.compile(
    r"((?:[A-Za-z]{1,3}|\\[a-z]+)(?:_\{[^{}]*\})?(?:\([A-Za-z,]{1,5}\))?)(?:=|\\in(?![A-Za-z]))(.+)"
)
_RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])")
_CHOICE = re.compile(r"\(([A-Z])\)")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*[a-z][A-Za-z' -]*")
_NUMBER = re.compile(r"(-?\d+)(?:\.(\d+))?")
_FRACTION = re.compile(r"(-?)(?:\\frac\{(-?\d+)\}\{(-?\d+)\}|(\d+)/(\d+))")
_MIXED = re.compile(r"(-?)(\d+) ?(?:\\frac\{(\d+)\}\{(\d+)\}|(?<= )(\d+)/(\d+))")


@dataclass(frozen=True)
class Answer:
    """A parsed answer: `x=5\\text{ cm}` has the name `x`, the value `5` and the unit `cm`.

    `plain` is the value as spelled, while `value` writes a number as an exact fraction. `number` is
    that fraction and `places` its count of written decimals.
    """

    value: str
    plain: str
    name: str = ""
    unit: str = ""
    number: Fraction | None = None
    places: int = 0

    @property
    def text(self) -> str:
        """The entire answer in one spelling, which parses to the same answer."""
        name = f"{self.name}=" if self.name else ""
        unit = self.unit if self.unit in ("", PERCENT) else f"\\text{{{self.unit}}}"
        return f"{name}{self.value}{unit}"

    def agrees(self, other: Answer) -> bool:
        """Returns whether names and units are compatible; a missing one is always compatible."""
        names = self.name == other.name or not (self.name and other.name)
        return names and (self.unit == other.unit or not (self.unit and other.unit))

    def same(self, other: Answer) -> bool:
        """Returns whether the two answers are equal by spelling or as exact numbers.

        A percentage also equals its hundredth. A decimal of at least six places also equals the
        fraction with an infinite decimal expansion that it rounds or truncates.
        """
        if not (self.value and other.value and self.agrees(other)):
            return False
        if self.number is None or other.number is None:
            return self.value == other.value
        one, two = self.number, other.number
        if (self.unit == PERCENT) != (other.unit == PERCENT):
            hundredths = (one / 100, two) if self.unit == PERCENT else (one, two / 100)
            return one == two or hundredths[0] == hundredths[1]
        return one == two or _approximates(self, other) or _approximates(other, self)


def normal(text: str) -> Answer:
    """Parses the content of a box; the value is empty if nothing is left."""
    name, rest = _take_name(_without_idle_blanks(spell(text)).rstrip(" .,;:"))
    plain, unit = _take_unit(_exact_side(rest))
    plain = _squeeze(_TEXT.sub(lambda found: f" {found.group(1)} ", plain))
    plain = _unwrapped(_IMPLIED_TIMES.sub("", plain).strip(" .,;:").removeprefix("+"))
    for special in (_CHOICE, _DECIMAL_BASE):
        found = special.fullmatch(plain)
        plain = found.group(1) if found else plain
    number, places = _number(plain)
    value = plain.lower() if _WORDS.fullmatch(plain) else plain
    value = value if number is None else str(number)
    return Answer(value, plain, name, unit, number, places)


def spell(text: str) -> str:
    """Normalises the spelling of commands, numbers and blanks of a text in linear time."""
    text = _COMMAND.sub(_rename, text.translate(_SYMBOLS))
    text = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text.replace("{,}", ","))
    text = _BARE_POINT.sub("0.", _braced(text))
    return " ".join(_DECIMAL.sub(_trimmed, text).split())


def is_words(value: str) -> bool:
    """Returns whether the value is one or more words, so its letters are not variables."""
    return len(value) > 3 and bool(_WORDS.fullmatch(value))


def _rename(found: re.Match[str]) -> str:
    whole, name = found.group(), found.group(1)
    if whole in ("%", r"\%"):
        return PERCENT
    if name is None:
        return r"\cdot " if whole == "*" else ""
    new = _RENAMED.get(name, whole)
    return f"{new} " if new[-1:].isalpha() else new


def _braced(text: str) -> str:
    """Adds braces around arguments of `_ARGUMENTS`: one character, or a number after ^ and _."""
    out: list[str] = []
    missing, outer, wide = 0, [], False
    for piece in _PIECE.findall(text):
        command = "\\sqrt" if piece.startswith("\\sqrt") else piece
        if piece == "{":
            outer.append(max(0, missing - 1))
            missing = 0
        elif piece == "}":
            missing = outer.pop() if outer else 0
        elif command in _ARGUMENTS:
            missing, wide = _ARGUMENTS[command], piece in "^_"
        elif missing:
            piece = piece.lstrip()
            while piece and missing:
                size = len(piece) if piece[0] == "\\" or (wide and piece[-1].isdigit()) else 1
                out.append(f"{{{piece[:size]}}}")
                piece, missing = piece[size:].lstrip(), missing - 1
        out.append(piece)
    return "".join(out)


def _trimmed(found: re.Match[str]) -> str:
    whole, _, decimals = found.group().partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _without_idle_blanks(text: str) -> str:
    """Removes blanks that separate nothing, except inside `\\text{…}`."""
    parts = re.split(r"(\\text ?\{[^{}]*\})", text)
    parts[::2] = [_squeeze(part) for part in parts[::2]]
    return "".join(parts).replace("\\text {", "\\text{").strip()


def _squeeze(text: str) -> str:
    return _LIST_COMMA.sub(", ", _REDUNDANT_SPACE.sub("", " ".join(text.split())))


def _take_name(text: str) -> tuple[str, str]:
    found = _NAME.fullmatch(text)
    if found is None or _RELATION.search(found.group(2)):
        return "", text
    return found.group(1), found.group(2)


def _take_unit(text: str) -> tuple[str, str]:
    """Returns the text without its unit, and the unit in the singular."""
    units = []
    if text.startswith((r"\$", r"-\$")):
        text, units = text.replace(r"\$", "", 1), ["dollar"]
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
        return PERCENT if found["percent"] else "degree"
    phrase = (found["text"] or found["words"] or "").lower()
    words = re.findall("[a-z]+", phrase)
    if len(words) > 4 or _NO_UNIT.search(phrase):
        return None
    if found["words"]:
        # Letters after a number are variables unless they are clearly words.
        spaced = found["words"].startswith(" ") and len(words[0]) > 3
        if _number(head)[0] is None or not (words[0] in _LONG_UNIT_WORDS or spaced):
            return None
    prefix = {"2": "square ", "3": "cubic "}.get(found["power"] or found["powers"], "")
    names = (_KNOWN.get(word, word[:-1] if word[3:].endswith("s") else word) for word in words)
    name = " ".join(filter(None, names))
    return "" if name in ("square", "cubic") else prefix + name


def _exact_side(text: str) -> str:
    """Returns the left side of `12\\pi \\approx 37.7`, unless it is just a name."""
    left, sign, _ = text.partition("\\approx")
    return left if sign and re.search(r"\d|\\(?:pi|sqrt|frac)", left) else text


def _unwrapped(text: str) -> str:
    """Removes braces around the entire text."""
    while text.startswith("{") and text.endswith("}") and not text.endswith("\\}"):
        depth = 0
        for at, letter in enumerate(text):
            depth += (letter == "{") - (letter == "}")
            if depth == 0 and at < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text


def _number(text: str) -> tuple[Fraction | None, int]:
    if found := _NUMBER.fullmatch(text):
        return Fraction(text), len(found.group(2) or "")
    if _SPACED_THOUSANDS.fullmatch(text):
        return Fraction(text.replace(" ", "")), 0
    if found := _FRACTION.fullmatch(text):
        top, bottom = (int(part) for part in found.groups()[1:] if part is not None)
        size = Fraction(top, bottom) if bottom else None
    elif found := _MIXED.fullmatch(text):
        whole, top, bottom = (int(part) for part in found.groups()[1:] if part is not None)
        # An improper fraction after a number is more likely a product than a mixed number.
        size = whole + Fraction(top, bottom) if top < bottom else None
    else:
        return None, 0
    return (-size if size is not None and found.group(1) else size), 0


def _approximates(decimal: Answer, other: Answer) -> bool:
    if decimal.places < 6 or other.number is None or decimal.number is None:
        return False
    scale, bottom = 10**decimal.places, other.number.denominator
    written, exact = decimal.number * scale, other.number * scale
    infinite = pow(10, bottom.bit_length(), bottom) != 0
    cut, rounded = int(exact), round(exact)
    return infinite and abs(written) >= 10**5 and written in (cut, rounded)
