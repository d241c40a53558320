r"""Rewrites notations of one meaning into one of them, before answers are parsed.

Styles (`\mathbf`, `\textcolor`, `\large`), Unicode fractions, roots and exponents, repeating
decimals, `\choose`, bases, `\operatorname`. Commands that only have another name are in `normal`.
Each rule has bounded lookahead, so the time is linear.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FONTS = (
    r"\\(?:mathbf|boldsymbol|bm|mathit|mathsf|mathtt|mathrm|mathnormal|texttt|textsf|textsl|textup|textsc|"
    r"textbf|textit|textrm|emph|underline|operatorname\*?|rm|bf|it)(?![A-Za-z])"
)
_FUNCTIONS = (
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|min|max|gcd|lcm"
)
_TRIG = r"(\\(?:sin|cos|tan|cot|sec|csc) ?\(?)"
_LEAD = (
    r"(?:(?:[Tt]he |[Oo]ur )?(?:final |correct )?"
    r"(?:answer|value|result|solution|total|point|vertex|center|number|sum|product|area|volume|perimeter|length|probability|equation|expression)s?"
    r"(?: is| are| equals)?)"
)
_MONTH = (
    "(January|February|March|April|May|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)"
)
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_BASE = re.compile(r"(?<=[\d)])_\{? ?\\(?:text|mathrm)\{ ?(" + "|".join(_BASES) + r") ?\}\}?")
_UNIT_TEXT = re.compile(
    r"\\(?:text|mathrm|textrm)\{((?:[A-Za-z/ ~]|\\[,; ]|\\cdot(?![A-Za-z])|\^\{?-?\d\}?){2,60})\}"
)
_THIN_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:\\[,;:] ?\d{3}(?!\d))+")
_REMARK = (
    r"(?:i\.e\.,? ?|that is,? |or )?"
    r"(?!million|thousand|billion|hundred|dozen|base|percent|times|squared|cubed)"
)
SLASH = "\N{FRACTION SLASH}"
# Letters that are units as well, and stay text.
_UNIT_LETTERS = "mghsLlJWNVC"
_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\(?:text)?color\{[^{}]{1,30}\}", ""),
        (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])", ""),
        (r"\\(?:text)?degree(?![A-Za-z])|\\text\{ ?(?:°|\\degree) ?\}|º", r"^{\\circ}"),
        (r"\\text\{ ?¢ ?\}|¢", r"\\text{ cents}"),
        (r"℃", r"^{\\circ}C"),
        (r"℉", r"^{\\circ}F"),
        (r"(?<![A-Za-z])\{([:;.])\}", r"\1"),
        (r"\\text\{ ?[,;] ?(and|or) ?\}", r" \1 "),
        (r"\\(?:hat|vec|overrightarrow) ?\{? ?\\?([ijk])(?:math)?(?![A-Za-z]) ?\}?", r" \1"),
        (r"\^\{? ?\\prime ?\}?", "'"),
        (r"^\\text\{ ?(?:negative|minus) ?\}(?=\d)", "-"),
        (r"^\\text\{ ?" + _LEAD + r" ?[:=]? ?\}(?=.)", ""),
        (r"\^\{? ?\\text\{ ?(st|nd|rd|th) ?\}\}?", r"\\text{\1}"),
        (r"(\d)\\text\{(st|nd|rd|th)\}$", r"\\text{\1\2}"),
        (_MONTH + r"\.? (\d{1,2})(?:st|nd|rd|th)(?![a-z])", r"\1 \2"),
        (r"^(?:\\mathbb ?\{?R\}?|\\text\{ ?all real(?: number)?s\.? ?\})$", r"(-\\infty,\\infty)"),
        (r", ?(?:\\text\{)? ?(and|or)(?: ?\}| )", r" \1 "),
        (r"^\\text\{ ?(?:[A-Za-z]+ ?){1,5}[:=] ?\}(?=.)|^\\text\{ ?(?:[A-Za-z]+ ?){1,5}\} ?=", ""),
        # A remark in words after the answer; not one that scales it.
        (r"(?<=.)\\text\{ ?\(" + _REMARK + r"[a-z]{2,20}(?: \w{1,20}){0,8}\) ?\}$", ""),
        (r"(?<=.)\\text\{ ?\((?:since|because|as) ?\}[^()]{1,200}\)$", ""),
        (r"(?<=.)\\text\{,? ?(?:since|because|or equivalently) ?\}.{1,200}$", ""),
        (r"^\\text\{(\d[^{}]{0,40}?),? ?(?:since|because) ?\}.{1,200}$", r"\\text{\1}"),
        (r"^\\begin\{aligned\}([^&]{0,200})&([^&]{1,200})\\end\{aligned\}$", r"\1\2"),
        (r"\\text\{([^{}^]{1,30})\^\{?([23])\}?\}", r"\\text{\1}^{\2}"),
        (r"\\text\{ ?(\d{1,60}) ?\}", r"\1"),
        (r"\\text\{ ?\\?% ?\}", r"\\%"),
        (r"(?<=\d)( ?(?:\\text\{ ?)?)([apAP])\. ?[mM]\.?", r"\1\2m"),
        (r"(?<=[)\]]) ?\\text\{ ?U ?\} ?(?=[(\[])", r"\\cup "),
        (r"\\text\{ ?, ?\}", ","),
        (r"\\text\{ ?to ?\}", ":"),
        (r"\\text\{(?:``|“|\"|')([^{}]{1,100}?)(?:''|”|\"|')\}", r"\\text{\1}"),
        (r"\{([^{}]{1,40})\\choose ?([^{}]{1,40})\}", r"\\binom{\1}{\2}"),
        (r"\\operatorname\*?\{(" + _FUNCTIONS + r")\}", r"\\\1 "),
        (_FONTS + r" ?\{[ ~]?([A-Za-z][A-Za-z0-9 .'/-]{1,60})\}", r"\\text{\1}"),
        (_FONTS + r" ?\{ ?([" + _UNIT_LETTERS + r"]) ?\}", r"\\text{\1}"),
        (_FONTS + r" ?\{ ?([A-Za-z]) ?\}", r" \1"),
        (_FONTS + r" ?\{ ?\(([A-Za-z])\) ?\}", r"\\text{(\1)}"),
        (_FONTS, ""),
        (r"\\text\{ ?([^\W\d_" + _UNIT_LETTERS + r"]) ?\}", r" \1"),
        (r"√ ?\(([^()]{1,60})\)", r"\\sqrt{\1}"),
        (r"√ ?(\d{1,60}(?:\.\d{1,60})?|[a-z])", r"\\sqrt{\1}"),
        (r"\((\d{1,60})\)_(?=\{?\d)", r"\1_"),
        (r"^\{?(\d{1,60})\}?_\{? ?\(? ?(\d{1,2}) ?\)? ?\}?$", r"\1_{\2}"),
        (r"^(\d{1,60}) ?\\text\{ ?(?:in )?base ?\} ?(\d{1,2})$", r"\1_{\2}"),
        (r"^(\d{1,60}) ?\\text\{ ?\(?(?:in )?base ?(\d{1,2})\)? ?\}$", r"\1_{\2}"),
        (r"^(-?\d{1,60}(?:\.\d{1,60})?)[eE]\+?(-?\d{1,3})$", r"\1\\cdot 10^{\2}"),
        (r"\\begin\{smallmatrix\}", r"\\begin{pmatrix}"),
        (r"\\end\{smallmatrix\}", r"\\end{pmatrix}"),
        (_TRIG + r"(\d{1,6})\^\{?\\circ\}?", r"\1{\\frac{\2\\pi}{180}}"),
    )
]  # fmt: skip
_REPEATING = re.compile(
    r"(?<![\d.])(\d{0,15})\.(\d{0,15})"
    r"(?:\\(?:overline|bar)\{?(\d{1,15})\}?|\((\d{1,15})\)"
    r"|\\dot\{?(\d)\}?(?:(\d{0,12})\\dot\{?(\d)\}?)?|(\d)\8{2,15}(?:\\[lc]?dots|…|\.\.\.))"
)


def restyled(text: str) -> str:
    """Returns the text in the notations that the parser reads."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]{1,60}", lambda f: f"^{{{f[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]{1,60}", lambda f: f"_{{{f[0].translate(_SUBSCRIPTS)}}}", text)
    text = re.sub("[¼-¾⅐-⅞]", _vulgar, text).replace(SLASH, "/")
    text = _THIN_THOUSANDS.sub(lambda found: re.sub(r"\\. ?", "", found[0]), text)
    text = _UNIT_TEXT.sub(_unit_text, text)
    text = _BASE.sub(lambda found: f"_{_BASES[found[1]]}", text)
    for pattern, new in _RULES:
        text = pattern.sub(new, text)
    return _REPEATING.sub(_fraction, text)


def _unit_text(found: re.Match[str]) -> str:
    r"""`\mathrm{m\,s^{-2}}` as `\text{m s}^{-2}`."""
    words = re.sub(r"\\[,; ]|\\cdot|~", " ", found[1])
    split = "\\text{" + re.sub(r"\^\{?(-?\d)\}?", r"}^{\1}\\text{", words) + "}"
    return split.removesuffix("\\text{}")


def _vulgar(found: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", found[0]).partition(SLASH)
    return rf" \frac{{{top}}}{{{bottom}}}"


def _fraction(found: re.Match[str]) -> str:
    """The exact fraction of a repeating decimal."""
    whole, fixed = found[1] or "0", found[2]
    if found[8]:
        # `0.1666…`: the digits before the repeated one are in `fixed` already.
        repeated = found[8]
    else:
        repeated = found[3] or found[4] or f"{found[5]}{found[6] or ''}{found[7] or ''}"
    tail = Fraction(int(repeated), 10 ** len(repeated) - 1) / 10 ** len(fixed)
    value = int(whole) + Fraction(int(fixed or "0"), 10 ** len(fixed)) + tail
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
