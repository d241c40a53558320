r"""Parses an answer into a small typed form: a single answer or a collection of answers.

`Answer` (see `normal`) is a leaf: a number, an expression, an equation, words, a choice, each with
an optional name and unit. A `Collection` is a list, tuple, interval, set, union or matrix of forms.
What the parser does not recognise as a collection is a leaf with all of its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from esr_cli.graders.latex import tidy, unwrapped
from esr_cli.graders.normal import Answer, normal, take_name
from esr_cli.graders.notation import interval_of
from esr_cli.graders.units import compound

LIST, TUPLE, SET, UNION, RATIO = "", "()", "{}", "cup", ":"
INTERVALS = ("(]", "[)", "[]")
_BRACKET = re.compile(r"\\[{}]|\\[lr]angle(?![A-Za-z])|[()[\]{}]|\\begin(?=\{)|\\end(?=\{)")
_OPENING = {"(", "[", "{", r"\{", r"\langle", r"\begin"}
_COMMA = re.compile(r"[,;]|\\text\{ ?(?:and|or) ?\}|(?<![A-Za-z\\{])(?:and|or)(?![A-Za-z}])")
_CUP = re.compile(r"\\cup(?![A-Za-z])|(?<=[)\]]) ?U ?(?=[(\[])")
_ROW, _CELL = re.compile(r"\\\\(?: ?\[\d{1,3}[a-z]{2}\])?"), re.compile("&")
_COLON = re.compile(":")
# No part begins with a zero, as in `10:05`.
_RATIO = re.compile(r"(?:[1-9a-z\\(][^:=<>| ]{0,60}:){1,5}[1-9a-z\\(](?:(?!\\text)[^:=<>| ]){0,60}")
_TERM = re.compile(
    r"([+-]?) ?((?:\\frac\{[^{}]*\}\{[^{}]*\}|\\sqrt\{[^{}]*\}|[\d./]){0,9}) ?([ijk])"
)
_LISTED_TEXT = re.compile(r"\\text\{ ?(-?\d[^{}]*|[A-J](?:(?:, ?| )(?:and )?[A-J])+) ?\}")
_IF = re.compile(r"^\\text\{ ?(?:if|for|when|where) ?\}|^(?:if|for|when) ")
_PLUS_MINUS = re.compile(r"\\pm(?![A-Za-z])")
_MATRIX = re.compile(
    r"[(\[]?\\begin\{([pbB]?matrix|array|[dr]?cases)\}(?:\{[lcr|]{1,20}\})?(.*?)(?:\\\\)? ?"
    r"\\end\{\1\}[)\]]?(\^\{(?:T|\\top ?|\\intercal ?|\\text\{T\})\})?"
)
_ENCLOSED = re.compile(r"(\\\{|\\langle ?|[(\[])(.*)(\\\}|\\rangle|[)\]])")
_AFTER_BRACKET = re.compile(r"(?<=[)\]}])(?=.)")
_CONDITION = re.compile(r"[:|]|\\mid(?![A-Za-z])")


@dataclass(frozen=True)
class Collection:
    r"""Several answers, and the text that they were read from.

    `kind` is `LIST` (no brackets), `TUPLE` (or an open interval), `SET`, `UNION`, `RATIO`, one of
    `INTERVALS` by its brackets, or the size of a matrix (`2x3`) or of cases (`cases 2x2`), whose
    cells stand row by row.
    """

    kind: str
    items: tuple[Form, ...]
    text: str
    name: str = ""

    @property
    def vector(self) -> bool:
        """Whether this is a matrix of one row or one column."""
        return "x" in self.kind and "1" in self.kind.split("x")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, if each has another one."""
        names = tuple(item.name for item in self.items)
        return names if all(names) and len(set(names)) == len(names) else ()


Form = Answer | Collection


def read(text: str) -> Form:
    """Parses the content of a box."""
    return _read(tidy(text))


def _read(text: str) -> Form:
    text = unwrapped(text)
    if compound(text):
        return normal(text)
    listed = _LISTED_TEXT.fullmatch(text)
    name, rest = take_name(listed[1] if listed else text)
    collection = _collection(rest)
    if collection is None:
        return normal(text)
    names = name.split(",")
    if len(names) > 1 and len(names) == len(collection.items):
        items = tuple(
            replace(item, name=each) for item, each in zip(collection.items, names, strict=True)
        )
        return replace(collection, items=items)
    return replace(collection, name=name or collection.name)


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Returns the parts between separators outside all brackets; one part if brackets are odd."""
    parts, depth, start = [], 0, 0
    for found in re.finditer(f"(?:{_BRACKET.pattern})|(?P<separator>{separator.pattern})", text):
        if found["separator"] is None:
            depth += 1 if found.group() in _OPENING else -1
        elif depth == 0:
            parts.append(text[start : found.start()].strip())
            start = found.end()
        if depth < 0:
            return [text]
    return [text] if depth else [*parts, text[start:].strip()]


def _collection(text: str) -> Collection | None:
    letter, interval = interval_of(text)
    if letter:
        found = _collection(interval)
        return found and replace(found, name=letter, text=text)
    for separator, kind in ((_CUP, UNION), (_COMMA, LIST)):
        parts = [part for part in split(text, separator) if part]
        if len(parts) > 1:
            return _made(kind, parts, text)
    if _RATIO.fullmatch(text) and len(parts := split(text, _COLON)) > 1:
        return _made(RATIO, parts, text)
    if found := _matrix(text) or _enclosed(text) or _components(text):
        return found
    if len(_PLUS_MINUS.findall(text)) == 1 and r"\mp" not in text:
        both = [_PLUS_MINUS.sub(sign, text).removeprefix("+") for sign in "+-"]
        return _made(LIST, both, text)
    return None


def _enclosed(text: str) -> Collection | None:
    found = _ENCLOSED.fullmatch(text)
    if found is None or len(split(text, _AFTER_BRACKET)) > 1:
        return None
    opening, closing = (found[at].strip() for at in (1, 3))
    kind = {r"\{": "{", r"\langle": "("}.get(opening, opening)
    kind += {r"\}": "}", r"\rangle": ")"}.get(closing, closing)
    if kind not in (TUPLE, SET, *INTERVALS) or (kind == SET and _CONDITION.search(found[2])):
        return None
    parts = split(found[2].strip(), _COMMA)
    if not all(parts) or (len(parts) == 1 and kind != SET and not _PLUS_MINUS.search(found[2])):
        return None
    if len(parts) == 1 and kind == TUPLE:
        return _collection(parts[0])
    return _made(kind, parts, text)


def _matrix(text: str) -> Collection | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [split(row, _CELL) for row in split(found[2], _ROW)]
    if found[3]:
        rows = [list(column) for column in zip(*rows, strict=False)]
    if len({len(row) for row in rows}) != 1:
        return None
    cells = [cell for row in rows for cell in row]
    size = f"{len(rows)}x{len(rows[0])}"
    if found[1].endswith("cases"):
        size = f"cases {size}"
        cells = [_IF.sub("", cell.strip()).strip(" .,;") for cell in cells]
    return _made(size, cells, text)


def _components(text: str) -> Collection | None:
    """The vector `2i-3j+k` as the tuple of its components."""
    values, end = dict.fromkeys("ijk", "0"), 0
    while found := _TERM.match(text, end):
        sign, size, axis = found.groups()
        if values[axis] != "0" or (end and not sign):
            return None
        values[axis], end = f"{sign.strip('+')}{size or 1}", found.end()
    if end < len(text) or sum(value != "0" for value in values.values()) < 2:
        return None
    sizes = list(values.values())
    return _made(TUPLE, sizes if values["k"] != "0" else sizes[:2], text)


def _made(kind: str, parts: list[str], text: str) -> Collection:
    """The collection of the parts; a list within an unordered one is part of it."""
    items: list[Form] = []
    for part in parts:
        item = _read(part)
        nested = isinstance(item, Collection) and item.kind == LIST and kind in (LIST, SET)
        items += item.items if nested and isinstance(item, Collection) else [item]
    return Collection(kind, tuple(items), text)
