"""Which token of the teacher means the same as a token of the student."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.config.errors import need_choice
from esr_cli.models.token_bytes import (
    BYTE_PIECE,
    kind_of,
    special_ids,
    token_bytes,
    token_strings,
)

KEY = "pair.alignment"
Strings = list[str | None]
# One family's tokenizers differ by a handful of added tokens; strangers share far fewer.
ENOUGH = 0.9


@dataclass(frozen=True)
class Alignment:
    """The student's vocabulary in the teacher's ids.

    `kind` is `ids` (same tokens, same ids), `tokens` (same tokens, other ids) or `text` (two
    tokenizers, matched by the bytes that their tokens stand for). `teacher_of[i]` is the teacher's
    id of student token i, -1 where it has none, and no id appears twice; `teacher_only` are the
    teacher's other ids, ascending; `share` is the part of the student's tokens that have a match.
    """

    kind: str
    teacher_of: tuple[int, ...]
    teacher_only: tuple[int, ...]
    share: float

    def other(self, number: int) -> int:
        """The teacher's id of a student id, -1 where it has none.

        A model's head may have more rows than its tokenizer has tokens.
        """
        return self.teacher_of[number] if number < len(self.teacher_of) else -1


def align(student: Any, teacher: Any, how: str) -> Alignment:
    """Matches two vocabularies; `how` is a kind, or `auto`: ids, else tokens, else refuse.

    Raises `ConfigError` where the tokenizers are not related as `how` says.
    """
    need_choice(KEY, how, ("auto", "ids", "tokens", "text"))
    ours, theirs = token_strings(student), token_strings(teacher)
    if how == "text":
        return _alignment("text", _by_text(student, ours, teacher, theirs), ours, theirs)
    teacher_of = _by_string(ours, theirs)
    moved = next((i for i, other in enumerate(teacher_of) if other not in (-1, i)), None)
    found = _alignment("ids" if moved is None else "tokens", teacher_of, ours, theirs)
    alike = kind_of(student) == kind_of(teacher)
    related = found.share >= ENOUGH and (alike or moved is None)
    if how == "auto":
        if not related:
            raise ConfigError(_unlike(found, ours))
        return found
    if how == "ids" and moved is not None:
        raise ConfigError(
            f"{KEY}=ids: {ours[moved]!r} is token {moved} of the student and token"
            f" {teacher_of[moved]} of the teacher; choose {KEY}={'tokens' if related else 'text'}"
        )
    if not found.share or (how == "tokens" and not alike):
        raise ConfigError(f"{KEY}={how}: the tokenizers spell text differently; choose {KEY}=text")
    return replace(found, kind=how)


def _unlike(found: Alignment, ours: Strings) -> str:
    pairs = zip(ours, found.teacher_of, strict=True)
    unlike = next((token for token, other in pairs if token is not None and other < 0), None)
    first = "" if unlike is None else f", first unlike: {unlike!r}"
    return (
        f"{KEY}=auto: the tokenizers differ ({found.share:.0%} of the student's tokens are known"
        f" to the teacher{first}); choose {KEY}=text, or a pair with one tokenizer"
    )


def _alignment(kind: str, teacher_of: list[int], ours: Strings, theirs: Strings) -> Alignment:
    meant = set(teacher_of)
    others = (i for i, token in enumerate(theirs) if token is not None and i not in meant)
    known = len(meant - {-1})
    tokens = len(ours) - ours.count(None)
    return Alignment(kind, tuple(teacher_of), tuple(others), known / max(1, tokens))


def _by_string(ours: Strings, theirs: Strings) -> list[int]:
    id_of = {token: i for i, token in enumerate(theirs) if token is not None}
    return [-1 if token is None else id_of.get(token, -1) for token in ours]


def _by_text(student: Any, ours: Strings, teacher: Any, theirs: Strings) -> list[int]:
    """Ordinary tokens by their bytes; then the ends of text, then added tokens by their content."""
    waiting: dict[bytes, list[int]] = {}
    for meant, other in _spelled(teacher, theirs):
        waiting.setdefault(meant, []).append(other)
    teacher_of = [-1] * len(ours)
    for meant, number in _spelled(student, ours):
        if waiting.get(meant):
            teacher_of[number] = waiting[meant].pop(0)
    taken = set(teacher_of)
    for number, other in _named(student, ours, teacher, theirs):
        if teacher_of[number] < 0 and other not in taken:
            teacher_of[number] = other
            taken.add(other)
    return teacher_of


def _spelled(tokenizer: Any, strings: Strings) -> Iterator[tuple[bytes, int]]:
    """Every (bytes, id) of text, byte pieces last: `<0x41>` is the same byte as `A`, but the
    tokenizer writes `A`."""
    late = []
    pieces = kind_of(tokenizer) == "pieces"
    for number, meant in enumerate(token_bytes(tokenizer, strings)):
        if meant is None:
            continue
        if pieces and len(meant) == 1 and BYTE_PIECE.fullmatch(strings[number] or ""):
            late.append((meant, number))
        else:
            yield meant, number
    yield from late


def _named(student: Any, ours: Strings, teacher: Any, theirs: Strings) -> Iterator[tuple[int, int]]:
    """Pairs of special or added tokens: the two ends of text first, then by content."""
    if student.eos_token_id is not None and teacher.eos_token_id is not None:
        yield student.eos_token_id, teacher.eos_token_id
    id_of = {theirs[i]: i for i in _added(teacher)}
    yield from ((i, id_of[ours[i]]) for i in _added(student) if ours[i] in id_of)


def _added(tokenizer: Any) -> list[int]:
    return sorted(special_ids(tokenizer) | set(tokenizer.added_tokens_decoder))
