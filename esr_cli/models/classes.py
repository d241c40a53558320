"""Classes of tokens that make two different vocabularies comparable.

One model may write ` answer` as one token while the other begins it with ` ans`: the tokens differ
but continue the text alike. A token that only one side has is therefore merged with a token of the
other side that begins it: the first token of the other tokenizer's encoding if that is a prefix,
else the longest prefix in the vocabulary. Merged tokens form one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import Alignment


@dataclass(frozen=True)
class Classes:
    """The class of every student and teacher id, -1 for none; there are `count` classes."""

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
    """Classes that contain tokens of both sides; all the given end-of-text ids form one class.

    Without `ends`, each end-of-text token is in the class of the token it is aligned to.
    """
    student_bytes, teacher_bytes = token_bytes(student), token_bytes(teacher)
    size = max(len(student_bytes), len(alignment.teacher_of))
    sets = _DisjointSets(size + len(teacher_bytes))
    for id, other in enumerate(alignment.teacher_of):
        if other >= 0:
            sets.join(id, size + other)
    known = set(alignment.teacher_of)
    student_only = [
        i for i, meant in enumerate(student_bytes) if meant and alignment.teacher_of[i] < 0
    ]
    for id, other in _beginnings(student_only, student_bytes, teacher_bytes, teacher):
        sets.join(id, size + other)
    teacher_only = [i for i, meant in enumerate(teacher_bytes) if meant and i not in known]
    for other, id in _beginnings(teacher_only, teacher_bytes, student_bytes, student):
        sets.join(size + other, id)
    all_ends = [*ends, *(size + end for end in teacher_ends)]
    for end in all_ends[1:]:
        sets.join(all_ends[0], end)
    return _numbered(sets, size, len(student_bytes), len(teacher_bytes))


def _numbered(sets: _DisjointSets, size: int, student_size: int, teacher_size: int) -> Classes:
    roots = (
        [sets.root(i) for i in range(student_size)],
        [sets.root(size + i) for i in range(teacher_size)],
    )
    both = sorted(set(roots[0]) & set(roots[1]))
    number = {root: place for place, root in enumerate(both)}
    student, teacher = (tuple(number.get(root, -1) for root in side) for side in roots)
    return Classes(student, teacher, len(both))


def _beginnings(
    ids: list[int], meant: Sequence[bytes | None], others: Sequence[bytes | None], tokenizer: Any
) -> list[tuple[int, int]]:
    """Pairs (id, the other side's token whose bytes begin the id's), if there is one."""
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


class _DisjointSets:
    """Disjoint sets with union and find."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def root(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, one: int, other: int) -> None:
        self.parent[self.root(one)] = self.root(other)
