"""Two unlike vocabularies on common ground: classes of tokens that begin a text alike.

Where one model may write ` answer` in one token and the other begins it with ` ans`, neither can
name the other's token, yet both mean the same. So a token that only one side has joins the other
side's token which begins it: the first that its tokenizer makes of the same text, else the longest
that is a prefix. What is joined is compared as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import Alignment


@dataclass(frozen=True)
class Classes:
    """The class of every student and teacher id; `count` of them, and -1 for what has none."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]
    count: int


def classes(
    alignment: Alignment,
    student: Any,
    teacher: Any,
    ends: Sequence[int],
    teacher_ends: Sequence[int],
) -> Classes:
    """Classes of tokens with a meaning on both sides; all ends of text given are one class.

    Without `ends` each end stands with what it is aligned to.
    """
    ours, theirs = token_bytes(student), token_bytes(teacher)
    size = max(len(ours), len(alignment.teacher_of))
    joined = _Joined(size + len(theirs))
    for id, other in enumerate(alignment.teacher_of):
        if other >= 0:
            joined.join(id, size + other)
    known = set(alignment.teacher_of)
    alone = [i for i, meant in enumerate(ours) if meant and alignment.teacher_of[i] < 0]
    for id, other in _beginnings(alone, ours, theirs, teacher):
        joined.join(id, size + other)
    others = [i for i, meant in enumerate(theirs) if meant and i not in known]
    for other, id in _beginnings(others, theirs, ours, student):
        joined.join(size + other, id)
    all_ends = [*ends, *(size + end for end in teacher_ends)]
    for end in all_ends[1:]:
        joined.join(all_ends[0], end)
    return _numbered(joined, size, len(ours), len(theirs))


def _numbered(joined: _Joined, size: int, ours: int, theirs: int) -> Classes:
    roots = [joined.root(i) for i in range(ours)], [joined.root(size + i) for i in range(theirs)]
    both = sorted(set(roots[0]) & set(roots[1]))
    number = {root: place for place, root in enumerate(both)}
    student, teacher = (tuple(number.get(root, -1) for root in side) for side in roots)
    return Classes(student, teacher, len(both))


def _beginnings(
    ids: list[int], meant: Sequence[bytes | None], others: Sequence[bytes | None], tokenizer: Any
) -> list[tuple[int, int]]:
    """For each id the other side's token that begins its bytes, where there is one."""
    texts = [(meant[id] or b"").decode(errors="replace") for id in ids]
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    made = tokenizer(texts, **options).input_ids if texts else []
    by_bytes: dict[bytes, int] = {}
    for number, spelled in enumerate(others):
        if spelled:
            by_bytes.setdefault(spelled, number)
    found = []
    for id, first in zip(ids, (row[:1] for row in made), strict=True):
        own = meant[id] or b""
        begun = others[first[0]] if first and first[0] < len(others) else None
        if begun and own.startswith(begun):
            found.append((id, first[0]))
        else:
            lengths = range(len(own), 0, -1)
            longest = next((by_bytes[own[:n]] for n in lengths if own[:n] in by_bytes), None)
            found += [] if longest is None else [(id, longest)]
    return found


class _Joined:
    """Sets that grow together (union-find)."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def root(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, one: int, other: int) -> None:
        self.parent[self.root(one)] = self.root(other)
