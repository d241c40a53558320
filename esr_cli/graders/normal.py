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

from esr_cli.graders.styles import restyled
from esr_cli.graders.units import PERCENT, take_unit

_SYMBOLS = str.maketrans(
    {
        "\0": " ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "~": " ",
        "\u2212": "-", "\u2013": "-", "\u00d7": r"\cdot ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
        "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "\u222a": r"\cup ", "∩": r"\cap ",
        "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "≈": r"\approx ",
        "°": r"^{\circ}", "θ": r"\theta ", "“": "", "”": "",
    }
)  # fmt: skip
_SAME = {
    "frac": "dfrac tfrac cfrac nicefrac sfrac", "binom": "dbinom tbinom", "leq": "le leqslant",
    "geq": "ge geqslant", "neq": "ne", "cdot": "times ast", "emptyset": "varnothing",
    "text": "textnormal mbox hbox", "cup": "bigcup", "cap": "bigcap", "{": "lbrace", "}": "rbrace",
}  # fmt: skip
_RENAMED = {other: f"\\{name}" for name, others in _SAME.items() for other in others.split()} | {
    "lvert": "|", "rvert": "|", "vert": "|", "lbrack": "[", "rbrack": "]",
    **dict.fromkeys([",", ";", ":", ">", " ", "\n", "quad", "qquad", "space"], " "),
    **dict.fromkeys(["left", "right", "middle", "displaystyle", "textstyle", "limits"], ""),
    **dict.fromkeys(["big", "bigl", "bigr", "Big", "Bigl", "Bigr", "bigg", "Bigg"], ""),
    **dict.fromkeys(["(", ")", "[", "]"], ""), "cr": r"\\",
    **dict.fromkeys(["or", "lor", "vee"], " or "), **dict.fromkeys(["land", "wedge"], " and "),
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
_NAME = re.compile(
    r"((?:[A-Za-z]{1,3}|\\[a-z]+)(?:_\{[^{}]*\})?(?:\([A-Za-z,]{1,5}\))?)(?:=|\\in(?![A-Za-z]))(.+)"
)
_RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])")
_CHOICE = re.compile(r"\(?([A-Z])\)")
_CHOSEN = re.compile(r"\(?([A-Z])(?:\)|[.:]).+")
_MAGNITUDE = re.compile(r"(-?\d+(?:\.\d+)?) ?(thousand|million|billion|trillion)s?")
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3}),(\d{3})(?=, |[)\]]|\\\}|$)")
_TUPLE_NAME = re.compile(r"\(((?:[A-Za-z]|\\[a-z]+ ?)(?:, ?(?:[A-Za-z]|\\[a-z]+ ?))+)\)=(\(.+\))")
_POINT = re.compile(r"([A-Z])(\([^()]*,[^()]*\))")
_CONGRUENT = re.compile(r"([a-z])\\equiv ?(-?\d+) ?(?:\(?\\p?mod ?\{?\d+\}?\)?)")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*[a-z][A-Za-z' -]*")
# Short answers in words, whose letters are not multiplied.
_ANSWERS = re.compile(r"(?i:no|on|yes|odd|even|true|false|none|left|right|up|down)")
_CAPITALS = re.compile(r"[A-Z]{3,}")
_LABEL = re.compile(r"(?=.{2})[\w .'-]*[A-Za-z][\w .'-]*")
_NUMBER = re.compile(r"(-?\d+)(?:\.(\d+))?")
_FRACTION = re.compile(r"(-?)(?:\\frac\{(-?\d+)\}\{(-?\d+)\}|(\d+)/(\d+))")
_MIXED = re.compile(r"(-?)(\d+) ?(?:\\frac\{(\d+)\}\{(\d+)\}|(?<= )(\d+)/(\d+))")


@dataclass(frozen=True)
class Answer:
    """A parsed answer: `x=5\\text{ cm}` has the name `x`, the value `5` and the unit `cm`.

    `plain` is the value as spelled, while `value` writes a number as an exact fraction. `number` is
    that fraction and `places` its count of written decimals. `words` means that the letters are a
    text (`HTT`, `east`), not a product.
    """

    value: str
    plain: str
    name: str = ""
    unit: str = ""
    words: bool = False
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
            chosen = _is_choice(self, other) or _is_choice(other, self)
            return self.value == other.value or chosen
        one, two = self.number, other.number
        if (self.unit == PERCENT) != (other.unit == PERCENT):
            hundredths = (one / 100, two) if self.unit == PERCENT else (one, two / 100)
            return one == two or hundredths[0] == hundredths[1]
        return one == two or _approximates(self, other) or _approximates(other, self)


def normal(text: str) -> Answer:
    """Parses the content of a box; the value is empty if nothing is left."""
    name, rest = take_name(tidy(text))
    text_only = _TEXT.fullmatch(rest)
    if text_only and text_only[1].strip()[:1].isdigit():
        rest = text_only[1].strip()
    plain, unit = take_unit(_exact_side(rest))
    plain = _squeeze(_TEXT.sub(lambda found: f" {found.group(1)} ", plain))
    plain = unwrapped(_IMPLIED_TIMES.sub("", plain).strip(" .,;:").removeprefix("+"))
    for special in (_CHOICE, _DECIMAL_BASE):
        found = special.fullmatch(plain)
        plain = found.group(1) if found else plain
    number, places = _number(plain)
    known = bool(_ANSWERS.fullmatch(plain))
    label = known or _CAPITALS.fullmatch(plain) or (text_only and _LABEL.fullmatch(plain))
    words = number is None and (is_words(plain) or bool(label))
    # Words are equal in any case; short labels are not (`\text{No}`, `\text{e4}`).
    loose = bool(_WORDS.fullmatch(plain)) or known or (words and len(plain) > 3 and plain.isalpha())
    value = plain.lower() if loose else plain
    value = value if number is None else str(number)
    return Answer(value, plain, name, unit, words, number, places)


def tidy(text: str) -> str:
    """Normalises the spelling of an answer, and removes blanks and stops without a meaning."""
    return _without_idle_blanks(spell(text)).rstrip(" .,;:")


def spell(text: str) -> str:
    """Normalises the spelling of commands, numbers and blanks of a text in linear time."""
    text = _COMMAND.sub(_rename, restyled(text).translate(_SYMBOLS))
    text = _THOUSANDS.sub(_thousands, text.replace("{,}", ","))
    if re.search(r"\d, ", text):
        # Where blanks separate a list, the other commas are those of thousands.
        text = _GROUPED.sub(r"\1\2", text)
    text = _BARE_POINT.sub("0.", _braced(text))
    return " ".join(_DECIMAL.sub(_trimmed, text).split())


def is_words(value: str) -> bool:
    """Returns whether the value is one or more words, so its letters are not variables."""
    return len(value) > 3 and bool(_WORDS.fullmatch(value))


def _thousands(found: re.Match[str]) -> str:
    """The number without its commas; `100,200,300` is more likely a list."""
    groups = [int(group) for group in found.group().split(",")]
    listed = len(groups) > 2 and groups == sorted(set(groups)) and not any(n % 50 for n in groups)
    return found.group().replace(",", ", " if listed else "")


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


def take_name(text: str) -> tuple[str, str]:
    """Returns the name before a value (`x` of `x=5`; empty if none) and the rest."""
    for pattern in (_TUPLE_NAME, _POINT, _CONGRUENT):
        if found := pattern.fullmatch(text):
            return found.group(1).replace(" ", ""), found.group(2)
    found = _NAME.fullmatch(text)
    if found is None or _RELATION.search(found.group(2)):
        return "", text
    # A function is named by its letter or as the height over x.
    name = found.group(1)
    return "y" if name == "f(x)" else name, found.group(2)


def _is_choice(letter: Answer, other: Answer) -> bool:
    """Whether `other` is a choice with its text (`B: 5`), and `letter` the letter."""
    found = _CHOSEN.fullmatch(other.plain)
    return found is not None and len(letter.value) == 1 and found[1] == letter.value


def _exact_side(text: str) -> str:
    """Returns the left side of `12\\pi \\approx 37.7`, unless it is just a name."""
    left, sign, _ = text.partition("\\approx")
    return left if sign and re.search(r"\d|\\(?:pi|sqrt|frac)", left) else text


def unwrapped(text: str) -> str:
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
    if found := _MAGNITUDE.fullmatch(text):
        return Fraction(found[1]) * _MAGNITUDES[found[2]], 0
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
