r"""Parses a single answer: its name, its value and its unit; compares two without algebra.

Units and names are kept instead of being discarded: `5` equals `5\text{ cm}` and `x=5`, but
`5\text{ cm}` does not equal `5\text{ m}`, nor `x=5` `y=5`. The letter of a choice is the name of
its value (`\text{(B) }17`), a modulus a unit (`x \equiv 3 \pmod 8`). A number (integer, finite
decimal, fraction, mixed number, several units) is kept as an exact fraction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from esr_cli.graders import units
from esr_cli.graders.latex import squeeze, tidy, unwrapped
from esr_cli.graders.units import PERCENT

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_IMPLIED_TIMES = re.compile(r"(?<=\d) (?!(?:and|or)\b)(?=[A-Za-z])")
_DECIMAL_BASE = re.compile(r"(\d+)_\{10\}")
_NAME = re.compile(
    r"((?:[A-Za-z]{1,3}|\\[a-z]+)(?:_\{[^{}]*\})?(?:\([A-Za-z,]{1,5}\))?)(?:=|\\in(?![A-Za-z]))(.+)"
)
_RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])")
_OPTION = r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer):? ?)"
_CHOICE = re.compile(rf"{_OPTION}?\(?([A-Z])\)|{_OPTION}([A-J])")
_SMALL_CHOICE = re.compile(rf"\\text\{{ ?{_OPTION}?\(([a-j])\) ?\}}")
_CHOSEN = re.compile(
    rf"(?:\\text\{{ ?)?{_OPTION}?(?:\(([A-Z])\)|([A-Z])[).:])(?: ?\}}| ?(\\text\{{))? ?([^ (}}].*)"
)
_SPACED_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}(?: \d{3})+")
_MAGNITUDE = re.compile(r"(-?\d+(?:\.\d+)?) ?(thousand|million|billion|trillion)s?")
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TUPLE_NAME = re.compile(r"\(((?:[A-Za-z]|\\[a-z]+ ?)(?:, ?(?:[A-Za-z]|\\[a-z]+ ?))+)\)=(\(.+\))")
_POINT = re.compile(r"([A-Z])(\([^()]*,[^()]*\))")
_CONGRUENT = re.compile(
    r"(?:([a-z])(?:\\equiv|=) ?)?(-?\d{1,30}),? ?\(? ?\\?[pb]?mod(?:ulo)? ?\{?(\d{1,30})\}? ?\)?"
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*[a-z][A-Za-z' -]*")
# Short answers in words, whose letters are not multiplied.
_ANSWERS = re.compile(r"(?i:no|on|yes|odd|even|true|false|none|left|right|up|down)")
_ARTICLE = re.compile(r"^(?:an?|the) (?=[a-z]{3})")
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
        name = self.name and f"{self.name}{' ' if self.name.startswith('(') else '='}"
        unit = self.unit if self.unit in ("", PERCENT) else f"\\text{{{self.unit}}}"
        return f"{name}{self.value}{unit}"

    def agrees(self, other: Answer) -> bool:
        """Returns whether names and units are compatible; a missing one is always compatible."""
        names = self.name == other.name or not (self.name and other.name)
        return names and units.agree(self.unit, other.unit)

    def same(self, other: Answer) -> bool:
        """Returns whether the two answers are equal by spelling or as exact numbers.

        A percentage also equals its hundredth, and numbers of one modulus their remainder. A
        decimal of at least six places also equals the fraction with an infinite decimal expansion
        that it rounds or truncates.
        """
        if not (self.value and other.value and self.agrees(other)):
            return False
        if self.number is None or other.number is None:
            chosen = self.name == f"({other.value})" or other.name == f"({self.value})"
            return self.value == other.value or chosen
        one, two = self.number, other.number
        if (self.unit == PERCENT) != (other.unit == PERCENT):
            hundredths = (one / 100, two) if self.unit == PERCENT else (one, two / 100)
            return one == two or hundredths[0] == hundredths[1]
        if modulus := self.modulus or other.modulus:
            remainder = two if self.modulus else one
            reduced = self.modulus == other.modulus or 0 <= remainder < modulus
            return one == two or ((one - two) % modulus == 0 and reduced)
        return one == two or _approximates(self, other) or _approximates(other, self)

    @property
    def modulus(self) -> int:
        """The modulus of a congruence; 0 if there is none."""
        return int(self.unit.removeprefix("mod ")) if self.unit.startswith("mod ") else 0


def normal(text: str) -> Answer:
    """Parses a single answer; the value is empty if nothing is left."""
    text = tidy(text)
    if found := _CONGRUENT.fullmatch(_TEXT.sub(lambda found: f" {found[1]} ", text).strip()):
        value, modulus = found[2], int(found[3])
        if modulus:
            return Answer(value, value, found[1] or "", f"mod {modulus}", number=Fraction(value))
    if quantity := units.compound(text):
        return Answer(str(quantity[0]), str(quantity[0]), unit=quantity[1], number=quantity[0])
    name, rest = take_name(text)
    text_only = _TEXT.fullmatch(rest)
    if text_only and text_only[1].strip()[:1].isdigit():
        rest = text_only[1].strip()
    small = _SMALL_CHOICE.fullmatch(rest)
    plain, unit = units.take_unit(_exact_side(small[1].upper() if small else rest))
    plain = squeeze(_TEXT.sub(lambda found: f" {found.group(1)} ", plain))
    plain = unwrapped(_IMPLIED_TIMES.sub("", plain).strip(" .,;:").removeprefix("+"))
    for special in (_CHOICE, _DECIMAL_BASE):
        found = special.fullmatch(plain)
        plain = found[found.lastindex or 1] if found else plain
    number, places = _number(plain)
    known = bool(_ANSWERS.fullmatch(plain))
    label = known or _CAPITALS.fullmatch(plain) or (text_only and _LABEL.fullmatch(plain))
    words = number is None and (is_words(plain) or bool(label))
    # Words are equal in any case; short labels are not (`\text{No}`, `\text{e4}`).
    long = words and len(plain) > 3 and re.search("[A-Za-z]{3}", plain) is not None
    loose = bool(_WORDS.fullmatch(plain)) or known or long
    value = _ARTICLE.sub("", plain.lower()) if loose else plain
    value = value if number is None else str(number)
    return Answer(value, plain, name, unit, words, number, places)


def is_words(value: str) -> bool:
    """Returns whether the value is one or more words, so its letters are not variables."""
    return len(value) > 3 and bool(_WORDS.fullmatch(value))


def take_name(text: str) -> tuple[str, str]:
    """Returns the name before a value (`x` of `x=5`; empty if none) and the rest."""
    for pattern in (_TUPLE_NAME, _POINT):
        if found := pattern.fullmatch(text):
            return found.group(1).replace(" ", ""), found.group(2)
    if found := _CHOSEN.fullmatch(text):
        return f"({found[1] or found[2]})", (found[3] or "") + found[4]
    found = _NAME.fullmatch(text)
    braced = found is not None and found.group(2).startswith(r"\begin")
    if found is None or (_RELATION.search(found.group(2)) and not braced):
        return "", text
    # A function is named by its letter or as the height over x.
    name = found.group(1)
    return "y" if name == "f(x)" else name, found.group(2)


def _exact_side(text: str) -> str:
    """Returns the left side of `12\\pi \\approx 37.7`, unless it is just a name."""
    left, sign, _ = text.partition("\\approx")
    return left if sign and re.search(r"\d|\\(?:pi|sqrt|frac)", left) else text


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
