"""Matches the tokens of the student with the tokens of the teacher."""

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
# Tokenizers of one family differ by a few added tokens; unrelated ones share far fewer.
ENOUGH = 0.9


@dataclass(frozen=True)
class Alignment:
    """The student's vocabulary in the teacher's ids.

    `kind` is `ids` (same tokens, same ids), `tokens` (same tokens, other ids) or `text` (two
    tokenizers, matched by the bytes of their tokens). `teacher_of[i]` is the teacher's id of
    student token i, or -1; no teacher id appears twice. `teacher_only` are the teacher's other ids,
    ascending. `share` is the fraction of the student's tokens that have a match.
    """

    kind: str
    teacher_of: tuple[int, ...]
    teacher_only: tuple[int, ...]
    share: float

    def other(self, number: int) -> int:
        """The teacher's id of a student id, -1 if it has none.

        The id may exceed the tokenizer's size: a head may have more rows than there are tokens.
        """
        return self.teacher_of[number] if number < len(self.teacher_of) else -1


def align(student: Any, teacher: Any, how: str) -> Alignment:
    """Matches two vocabularies; `how` is a kind, or `auto`: `ids`, else `tokens`, else an error.

    Raises `ConfigError` if the tokenizers do not match in the way that `how` requires.
    """
    need_choice(KEY, how, ("auto", "ids", "tokens", "text"))
    student_strings, teacher_strings = token_strings(student), token_strings(teacher)
    if how == "text":
        teacher_of = _by_text(student, student_strings, teacher, teacher_strings)
        return _alignment("text", teacher_of, student_strings, teacher_strings)
    teacher_of = _by_string(student_strings, teacher_strings)
    first_moved = next((i for i, other in enumerate(teacher_of) if other not in (-1, i)), None)
    alignment = _alignment(
        "ids" if first_moved is None else "tokens", teacher_of, student_strings, teacher_strings
    )
    same_kind = kind_of(student) == kind_of(teacher)
    related = alignment.share >= ENOUGH and (same_kind or first_moved is None)
    if how == "auto":
        if not related:
            raise ConfigError(_mismatch(alignment, student_strings))
        return alignment
    if how == "ids" and first_moved is not None:
        token, other = student_strings[first_moved], teacher_of[first_moved]
        raise ConfigError(
            f"{KEY}=ids: {token!r} is token {first_moved} of the student and token {other} of the"
            f" teacher; choose {KEY}={'tokens' if related else 'text'}"
        )
    if not alignment.share or (how == "tokens" and not same_kind):
        raise ConfigError(f"{KEY}={how}: the tokenizers spell text differently; choose {KEY}=text")
    return replace(alignment, kind=how)


def _mismatch(alignment: Alignment, student_strings: Strings) -> str:
    pairs = zip(student_strings, alignment.teacher_of, strict=True)
    unmatched = next((token for token, other in pairs if token is not None and other < 0), None)
    first = "" if unmatched is None else f", first without a match: {unmatched!r}"
    return (
        f"{KEY}=auto: the tokenizers differ ({alignment.share:.0%} of the student's tokens are"
        f" known to the teacher{first}); choose {KEY}=text, or a pair with one tokenizer"
    )


def _alignment(
    kind: str, teacher_of: list[int], student_strings: Strings, teacher_strings: Strings
) -> Alignment:
    matched = set(teacher_of)
    teacher_only = (
        i for i, token in enumerate(teacher_strings) if token is not None and i not in matched
    )
    known = len(matched - {-1})
    tokens = len(student_strings) - student_strings.count(None)
    return Alignment(kind, tuple(teacher_of), tuple(teacher_only), known / max(1, tokens))


def _by_string(student_strings: Strings, teacher_strings: Strings) -> list[int]:
    id_of = {token: i for i, token in enumerate(teacher_strings) if token is not None}
    return [-1 if token is None else id_of.get(token, -1) for token in student_strings]


def _by_text(
    student: Any, student_strings: Strings, teacher: Any, teacher_strings: Strings
) -> list[int]:
    """Matches ordinary tokens by bytes, then the end-of-text tokens, then added tokens by name."""
    unmatched: dict[bytes, list[int]] = {}
    for spelled, other in _spelled(teacher, teacher_strings):
        unmatched.setdefault(spelled, []).append(other)
    teacher_of = [-1] * len(student_strings)
    for spelled, number in _spelled(student, student_strings):
        if unmatched.get(spelled):
            teacher_of[number] = unmatched[spelled].pop(0)
    taken = set(teacher_of)
    for number, other in _special_pairs(student, student_strings, teacher, teacher_strings):
        if teacher_of[number] < 0 and other not in taken:
            teacher_of[number] = other
            taken.add(other)
    return teacher_of


def _spelled(tokenizer: Any, strings: Strings) -> Iterator[tuple[bytes, int]]:
    """(bytes, id) of every text token, byte pieces last.

    `<0x41>` is the same byte as `A`, but the tokenizer writes `A`.
    """
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


def _special_pairs(
    student: Any, student_strings: Strings, teacher: Any, teacher_strings: Strings
) -> Iterator[tuple[int, int]]:
    """Pairs of special or added tokens: the two end-of-text tokens first, then by content."""
    if student.eos_token_id is not None and teacher.eos_token_id is not None:
        yield student.eos_token_id, teacher.eos_token_id
    id_of = {teacher_strings[i]: i for i in _added(teacher)}
    yield from (
        (i, id_of[student_strings[i]]) for i in _added(student) if student_strings[i] in id_of
    )


def _added(tokenizer: Any) -> list[int]:
    return sorted(special_ids(tokenizer) | set(tokenizer.added_tokens_decoder))
