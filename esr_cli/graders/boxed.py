r"""Extracts the content of `\boxed{…}`, `\fbox{…}` and `\framebox{…}` from a response in one pass.

- Braces must balance; `\{` and `\}` are characters of the answer and do not count.
- A box that never closes is ignored: the last box is the last one that closes.
- If boxes are nested, only the innermost ones hold answers.
- Without a brace, as in `$\boxed 5$`, the box holds the text before the closing `$`, `\)` or
  `\]` of its line (the convention of the MATH data), or the number that ends the line. A bare
  `\boxed` in prose is ignored.
- A blank box (`\boxed{}` in prose) is no answer if there is another box.
- A thought that begins after the answer and never ends (`<think>`) holds no answer.
- Only the last `MOST_CHARS` characters of a response are read: longer ones are loops.
- A box of more than `LONGEST` characters counts as an empty box, which equals no answer.
"""

from __future__ import annotations

import re
from itertools import islice

MOST_CHARS = 500_000
LONGEST = 1000
LONGEST_BARE = 100

_TOKEN = re.compile(r"\\\\?(?:boxed|fbox|Boxed|framebox)(?:\s{0,9}\{|(?![A-Za-z]))|\\.|[{}]", re.S)
_BLANK = re.compile(r"\s|~|\\(?:quad|[ ,;:!])")
_NUMBER = re.compile(r"\s{0,9}(-?\d[\d,]{0,30}(?:\.\d{1,30})?)\.?[ \t]*(?:\n|$)")
_MARKED = re.compile(r"(?<!#)####[ \t]{0,9}[*$\\(]{0,9}(-?\d(?:[\d.,/]{0,99}\d)?)")
_HEADING = re.compile(r"[.):][ \t*]{1,9}[A-Za-z]")
_BARE_END = re.compile(r"\$|\\[)\]]|[\n{}]")


def boxes(text: str) -> list[str]:
    """Returns the content of each box, in order of appearance, stripped of outer whitespace."""
    found: list[str | None] = []
    text = text[-MOST_CHARS:]
    answer, thought, rest = text.rpartition("<think>")
    if thought and "</think>" not in rest and _TOKEN.search(answer):
        text = answer
    # Per open brace: the start of its box (-1 if it opens none), and the boxes found before it.
    open_braces: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word == "{":
            open_braces.append((-1, 0))
        elif word == "}":
            start, before = open_braces.pop() if open_braces else (-1, 0)
            if start >= 0 and len(found) == before:
                found.append(_content(text, start, token.start()))
        elif word.endswith("{") and len(word) > 2:
            open_braces.append((token.end(), len(found)))
        elif word.endswith(("box", "boxed", "Boxed")):
            found.extend(_unbraced(text[token.end() : token.end() + LONGEST_BARE]))
    filled = [content for content in found if content is not None]
    return filled or [""] * bool(found)


def marked(text: str) -> list[str]:
    """Returns the boxes, or without one the number after the first `####` that has one.

    GSM8K's own solutions end so, and what follows that mark is often a further question. A
    numbered heading (`#### 1. Add`) is no answer.
    """
    marks = _MARKED.finditer(text[-MOST_CHARS:])
    answers = (mark[1] for mark in marks if not _HEADING.match(mark.string, mark.end()))
    return boxes(text) or list(islice(answers, 1))


def last_box(text: str) -> str | None:
    """Returns the content of the last box, or None without a box."""
    found = boxes(text)
    return found[-1] if found else None


def first_box(text: str) -> str | None:
    """Returns the content of the first box, or None without a box."""
    found = boxes(text)
    return found[0] if found else None


def _content(text: str, start: int, end: int) -> str | None:
    """The content, empty if it is too long; None if it is blank."""
    if end - start > LONGEST:
        return ""
    return text[start:end].strip() if _BLANK.sub("", text[start:end]) else None


def _unbraced(rest: str) -> list[str]:
    end = _BARE_END.search(rest)
    if end is None or end.group() in "\n{}":
        number = _NUMBER.match(rest)
        return [number[1]] if number else []
    content = rest[: end.start()].strip()
    return [content] if content else []
