"""How the teacher reads what the student wrote, each in its own tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from esr_cli.models.byte_writer import ByteWriter
from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import Alignment


@dataclass(frozen=True)
class Reading:
    """A response as the teacher reads it.

    `ids` follow the teacher's prompt, in its own ids, and stop at the last place where the student
    predicts. The teacher's state after prompt and `ids[:rows[t]]` predicts at the same place as the
    student's token t; `rows[t]` is -1 where no teacher token ends there. Rows never decrease.
    """

    ids: tuple[int, ...]
    rows: tuple[int, ...]


def reader(
    alignment: Alignment, student_tokenizer: Any, teacher_tokenizer: Any
) -> SameTokens | SameText:
    """The reader that fits how the two vocabularies are matched."""
    if alignment.kind == "text":
        return SameText(student_tokenizer, teacher_tokenizer, alignment)
    return SameTokens(alignment)


class SameTokens:
    """One tokenizer, at most renumbered: the teacher reads token by token."""

    def __init__(self, alignment: Alignment) -> None:
        self.alignment = alignment

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """Row t is t, unless the teacher lacks an earlier token: it reads nothing there."""
        ids: list[int] = []
        rows = []
        for number in response_ids:
            rows.append(len(ids))
            other = self.alignment.other(number)
            ids += [other] if other >= 0 else []
        return Reading(tuple(ids[: max(rows, default=0)]), tuple(rows))


class SameText:
    """Two tokenizers: the teacher encodes the student's bytes, and rows follow the bytes.

    A special token of the student splits the text; the teacher reads its own token of that meaning,
    or nothing where it has none. The end of text, being last, is predicted and never read.
    """

    def __init__(
        self, student_tokenizer: Any, teacher_tokenizer: Any, alignment: Alignment
    ) -> None:
        self.bytes_of = token_bytes(student_tokenizer)
        self.alignment = alignment
        self.writer = ByteWriter(teacher_tokenizer)

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """The teacher's tokens for a response, whatever its ids spell."""
        ids: list[int] = []
        rows: list[int] = []
        row = 0  # of the place reached, -1 where the teacher has no boundary
        for special, group in groupby(response_ids, lambda number: self._bytes(number) is None):
            if special:
                for number in group:
                    rows.append(row)
                    other = self.alignment.other(number)
                    if other >= 0:
                        ids.append(other)
                        row = len(ids)
                continue
            pieces = [self._bytes(number) or b"" for number in group]
            row_at = self.writer.write(b"".join(pieces), ids, row)
            place = 0
            for piece in pieces:
                rows.append(row_at.get(place, -1))
                place += len(piece)
            row = row_at.get(place, -1)
        return Reading(tuple(ids[: max(rows, default=0)]), tuple(rows))

    def _bytes(self, number: int) -> bytes | None:
        # Padding rows of the head have no bytes either.
        return self.bytes_of[number] if number < len(self.bytes_of) else None
