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


def align(student: Any, teacher: Any, how: str) -> Alignment:
    """Matches two vocabularies; `how` is a kind, or `auto`: ids, else tokens, else refuse.

    Raises `ConfigError` where the tokenizers are not related as `how` says.
    """
    need_choice(KEY, how, ("auto", "ids", "tokens", "text"))
    if how == "text":
        return _alignment("text", _by_text(student, teacher), student, teacher)
    theirs = teacher.get_vocab()
    teacher_of = _by_string(student, theirs)
    moved = next((i for i, other in enumerate(teacher_of) if other not in (-1, i)), None)
    found = _alignment("ids" if moved is None else "tokens", teacher_of, student, teacher)
    if how == "auto":
        _need_relatives(found, student, teacher)
    elif how == "ids" and moved is not None:
        raise ConfigError(
            f"{KEY}=ids: {student.convert_ids_to_tokens(moved)!r} is token {moved} of the student"
            f" and token {teacher_of[moved]} of the teacher; choose {KEY}=tokens, or text"
        )
    elif not found.share or (how == "tokens" and kind_of(student) != kind_of(teacher)):
        raise ConfigError(f"{KEY}={how}: the tokenizers spell text differently; choose {KEY}=text")
    return found if how == "auto" else replace(found, kind=how)


def _need_relatives(found: Alignment, student: Any, teacher: Any) -> None:
    """Refuses a match that only chance would make."""
    related = found.kind == "ids" or kind_of(student) == kind_of(teacher)
    if related and found.share >= ENOUGH:
        return
    pairs = zip(token_strings(student), found.teacher_of, strict=True)
    unlike = next((token for token, other in pairs if token is not None and other < 0), None)
    first = "" if unlike is None else f", first unlike: {unlike!r}"
    raise ConfigError(
        f"{KEY}=auto: the tokenizers differ ({found.share:.0%} of the student's tokens are known"
        f" to the teacher{first}); choose {KEY}=text, or a pair with one tokenizer"
    )


def _alignment(kind: str, teacher_of: list[int], student: Any, teacher: Any) -> Alignment:
    known = sum(other >= 0 for other in teacher_of)
    tokens = sum(token is not None for token in token_strings(student))
    meant = set(teacher_of)
    others = sorted(set(teacher.get_vocab().values()) - meant)
    return Alignment(kind, tuple(teacher_of), tuple(others), known / max(1, tokens))


def _by_string(student: Any, theirs: dict[str, int]) -> list[int]:
    """The teacher's id of each token string; where two strings share an id, the first has it."""
    taken: set[int] = set()
    teacher_of = []
    for token in token_strings(student):
        other = -1 if token is None else theirs.get(token, -1)
        teacher_of.append(-1 if other in taken else other)
        taken.add(other)
    return teacher_of


def _by_text(student: Any, teacher: Any) -> list[int]:
    """Ordinary tokens by their bytes; then the ends of text, then added tokens by their content."""
    theirs: dict[bytes, list[int]] = {}
    for meant, other in _spelled(teacher):
        theirs.setdefault(meant, []).append(other)
    for ids in theirs.values():
        ids.reverse()  # so that pop() takes the first of those that mean the same
    teacher_of = [-1] * len(token_strings(student))
    for meant, number in _spelled(student):
        if theirs.get(meant):
            teacher_of[number] = theirs[meant].pop()
    taken = set(teacher_of)
    for number, other in _named(student, teacher):
        if teacher_of[number] < 0 and other not in taken:
            teacher_of[number] = other
            taken.add(other)
    return teacher_of


def _spelled(tokenizer: Any) -> Iterator[tuple[bytes, int]]:
    """Every (bytes, id) of text; byte pieces last, as `A` and `<0x41>` mean one byte but the
    tokenizer writes `A`."""
    late = []
    pieces = kind_of(tokenizer) == "pieces"
    strings = token_strings(tokenizer)
    for number, (token, meant) in enumerate(zip(strings, token_bytes(tokenizer), strict=True)):
        if meant is None or token is None:
            continue
        if pieces and token.startswith("<0x") and BYTE_PIECE.fullmatch(token):
            late.append((meant, number))
        else:
            yield meant, number
    yield from late


def _named(student: Any, teacher: Any) -> Iterator[tuple[int, int]]:
    """Pairs of special or added tokens: the two ends of text first, then by content."""
    if student.eos_token_id is not None and teacher.eos_token_id is not None:
        yield student.eos_token_id, teacher.eos_token_id
    theirs = _added(teacher)
    yield from ((i, theirs[token]) for token, i in _added(student).items() if token in theirs)


def _added(tokenizer: Any) -> dict[str, int]:
    strings = token_strings(tokenizer)
    ids = sorted(special_ids(tokenizer) | set(tokenizer.added_tokens_decoder))
    return {str(strings[number]): number for number in ids if number < len(strings)}
