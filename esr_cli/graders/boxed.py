r"""Finds the boxes of a response, `\boxed{…}` and `\fbox{…}`, in one pass over the text.

- Braces must balance; `\{` and `\}` are characters of the answer and do not count.
- A box that never closes is no box: the last box is the last one that closes.
- A box around other boxes is a frame: only the innermost ones hold answers.
- Without a brace, as in `$\boxed 5$`, the box holds what stands before the closing `$`, `\)` or
  `\]` of its line (the convention of the MATH data); a bare `\boxed` in prose is no box.
- A box of more than `LONGEST` characters counts, but as an empty one, which nothing equals.
"""

from __future__ import annotations

import re

LONGEST = 1000
LONGEST_BARE = 100

_TOKEN = re.compile(r"\\\\?(?:boxed|fbox)(?:\s{0,9}\{|(?![A-Za-z]))|\\.|[{}]", re.S)
_BARE_END = re.compile(r"\$|\\[)\]]|[\n{}]")


def boxes(text: str) -> list[str]:
    """What each box holds, in the order of the text, stripped of outer blanks."""
    found: list[str] = []
    # Of an open brace: where its box starts (-1 if it opens none), how many boxes came before.
    open_braces: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word == "{":
            open_braces.append((-1, 0))
        elif word == "}":
            start, before = open_braces.pop() if open_braces else (-1, 0)
            if start >= 0 and len(found) == before:
                found.append(_held(text, start, token.start()))
        elif word.endswith("{") and len(word) > 2:
            open_braces.append((token.end(), len(found)))
        elif word.endswith("box") or word.endswith("boxed"):
            found.extend(_bare(text[token.end() : token.end() + LONGEST_BARE]))
    return found


def last_box(text: str) -> str | None:
    """What the last box holds; None without a box."""
    found = boxes(text)
    return found[-1] if found else None


def first_box(text: str) -> str | None:
    """What the first box holds; None without a box."""
    found = boxes(text)
    return found[0] if found else None


def _held(text: str, start: int, end: int) -> str:
    return text[start:end].strip() if end - start <= LONGEST else ""


def _bare(rest: str) -> list[str]:
    end = _BARE_END.search(rest)
    if end is None or end.group() in "\n{}":
        return []
    held = rest[: end.start()].strip()
    return [held] if held else []
