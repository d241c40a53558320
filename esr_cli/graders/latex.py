r"""Spells a LaTeX answer in one way: commands, braces, numbers and blanks, without parsing it.

The rules follow the MATH and Minerva normalisations (Hendrycks et al. 2021, Lewkowycz et al. 2022):
bracket sizes, `\dfrac`, `\frac12`, blanks, `%`, `\$`, degrees, thousands commas, `.5`. All take
linear time.
"""

from __future__ import annotations

import re

from esr_cli.graders.styles import restyled
from esr_cli.graders.units import PERCENT

_GREEK = (
    "alpha beta gamma delta epsilon theta lambda mu rho sigma tau phi omega "
    "Delta Sigma Omega Theta Pi Phi"
)
_SYMBOLS = str.maketrans(
    {
        "\0": " ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "~": " ",
        "\u2212": "-", "\u2013": "-", "\u00d7": r"\cdot ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
        "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "\u222a": r"\cup ", "∩": r"\cap ",
        "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "≈": r"\approx ",
        "°": r"^{\circ}", "“": "", "”": "", "∈": r"\in ", "∅": r"\emptyset ",
        "\u211d": r"\mathbb{R}",
        "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "⟨": r"\langle ", "⟩": r"\rangle ", "≡": r"\equiv ",
        "∠": r"\angle ", "→": r"\to ", "\u2032": "'", "\u2236": ":",
    }
    | {sign: f"\\{name} " for sign, name in zip("αβγδεθλμρστφωΔΣΩΘΠΦ", _GREEK.split(), strict=True)}
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
_REDUNDANT_SPACE = re.compile(r"(?<![A-Za-z\d]) | (?![A-Za-z\d])")
# A list comma that looks like a thousands comma; real ones have been removed before.
_LIST_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3}),(\d{3})(?=, |[)\]]|\\\}|$)")


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
    parts[::2] = [squeeze(part) for part in parts[::2]]
    return "".join(parts).replace("\\text {", "\\text{").strip()


def squeeze(text: str) -> str:
    return _LIST_COMMA.sub(", ", _REDUNDANT_SPACE.sub("", " ".join(text.split())))


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
