"""How the teacher reads a response of the student in its own tokens."""

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

    `ids` are the teacher's tokens after its prompt, up to the last place where the student
    predicts. The teacher's state after prompt and `ids[:rows[t]]` predicts at the place of the
    student's token t. `rows[t]` is -1 if no teacher token ends there. Rows never decrease.
    """

    ids: tuple[int, ...]
    rows: tuple[int, ...]


def reader(
    alignment: Alignment, student_tokenizer: Any, teacher_tokenizer: Any
) -> SameTokens | SameText:
    """The reader for the kind of alignment."""
    if alignment.kind == "text":
        return SameText(student_tokenizer, teacher_tokenizer, alignment)
    return SameTokens(alignment)


class SameTokens:
    """Reader for one tokenizer, possibly with other ids: the teacher reads token by token."""

    def __init__(self, alignment: Alignment) -> None:
        self.alignment = alignment

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """Row t is t minus the number of earlier tokens that the teacher lacks and skips."""
        ids: list[int] = []
        rows = []
        for number in response_ids:
            rows.append(len(ids))
            other = self.alignment.other(number)
            ids += [other] if other >= 0 else []
        return Reading(tuple(ids[: max(rows, default=0)]), tuple(rows))


class SameText:
    """Reader for two tokenizers: the teacher encodes the student's bytes; rows follow byte offsets.

    A special token of the student splits the text. The teacher reads its aligned token, or nothing
    if it has none. The end of text is last, so it is predicted but never read.
    """

    def __init__(
        self, student_tokenizer: Any, teacher_tokenizer: Any, alignment: Alignment
    ) -> None:
        self.bytes_of = token_bytes(student_tokenizer)
        self.alignment = alignment
        self.writer = ByteWriter(teacher_tokenizer)

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """The teacher's reading of a response; any sequence of ids is valid."""
        ids: list[int] = []
        rows: list[int] = []
        row = 0  # at the current place; -1 if no teacher token ends there
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
