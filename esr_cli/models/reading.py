"""How the teacher reads what the student wrote, each in its own tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import Alignment

# Decoding with `surrogateescape` turns every byte that is no UTF-8 into one of these.
BROKEN = re.compile("([\udc80-\udcff]+)")


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
        self.teacher_of = alignment.teacher_of

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """Row t is t, unless the teacher lacks an earlier token: it reads nothing there."""
        ids: list[int] = []
        rows = []
        for number in response_ids:
            rows.append(len(ids))
            other = self.teacher_of[number] if number < len(self.teacher_of) else -1
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
        self.teacher_of = alignment.teacher_of
        self.writer = _Writer(teacher_tokenizer)

    def read(self, response_ids: tuple[int, ...]) -> Reading:
        """The teacher's tokens for a response, whatever its ids spell."""
        ids: list[int] = []
        rows: list[int] = []
        row = 0  # of the place reached, -1 where the teacher has no boundary
        for special, group in groupby(response_ids, lambda number: self._bytes(number) is None):
            if special:
                for number in group:
                    rows.append(row)
                    other = self.teacher_of[number] if number < len(self.teacher_of) else -1
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
        # A model's head may have more rows than its tokenizer has tokens.
        return self.bytes_of[number] if number < len(self.bytes_of) else None


class _Writer:
    """Bytes in a tokenizer's ids, with the place in the bytes where each token surely ends."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.bytes_of = token_bytes(tokenizer)
        self.byte_ids = {
            meant: i
            for i, meant in enumerate(self.bytes_of)
            if meant is not None and len(meant) == 1
        }
        ids, _ = self._encode(" a")
        # Some put a blank of their own before a text, even before one that begins with a blank.
        self.doubles = b"".join(self.bytes_of[i] or b"" for i in ids) == b"  a"

    def write(self, text: bytes, ids: list[int], row: int) -> dict[int, int]:
        """Appends the ids of `text`; returns the row at each byte offset that has one.

        `row` is the row at offset 0 (-1: none).
        """
        row_at = {0: row} if row >= 0 else {}
        start = 0
        for run in BROKEN.split(text.decode(errors="surrogateescape")):
            raw = run.encode(errors="surrogateescape")
            if not BROKEN.match(run):
                self._text(run, raw, start, ids, row_at)
            elif all(raw[i : i + 1] in self.byte_ids for i in range(len(raw))):
                for i in range(len(raw)):
                    ids.append(self.byte_ids[raw[i : i + 1]])
                    row_at[start + i + 1] = len(ids)
            elif start in row_at:  # nothing is read: the place behind it has the same row
                row_at[start + len(raw)] = row_at[start]
            start += len(raw)
        return row_at

    def _text(
        self, run: str, raw: bytes, start: int, ids: list[int], row_at: dict[int, int]
    ) -> None:
        # Where the tokenizer will write a leading blank anyway, the text's own one is left to it.
        cut = int(self.doubles and run[:1] == " " and len(run) > 1)
        found, spans = self._encode(run[cut:])
        spans = [(first + cut, last + cut) for first, last in spans]
        for number, end in zip(found, self._ends(run, raw, found, spans), strict=True):
            ids.append(number)
            if end >= 0:
                row_at.setdefault(start + end, len(ids))

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and the characters that each was made of (none from a tokenizer written in Python).

        Special tokens are split: a student that spells one out has not sent it.
        """
        if not text:
            return [], []
        fast = self.tokenizer.is_fast
        made = self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=fast,
            return_attention_mask=False,
            verbose=False,
        )
        return made["input_ids"], made["offset_mapping"] if fast else []

    def _ends(
        self, run: str, raw: bytes, ids: list[int], spans: list[tuple[int, int]]
    ) -> Iterator[int]:
        """For each token the offset in `raw` where it ends, -1 where that is not certain.

        Bytes decide as long as the tokens repeat the text; past a token that does not (a character
        composed anew, an unknown word) the tokenizer's spans find the next certain place.
        """
        meant = [self.bytes_of[number] or b"" for number in ids]
        # A blank that the tokenizer puts before the text lies before its beginning.
        own = bool(meant) and meant[0][:1] == b" " and raw[:1] != b" "
        raw_from, place = (b" " + raw, -1) if own else (raw, 0)
        shift = int(own)
        offset_of = None
        reached = place
        for i, token in enumerate(meant):
            if place >= 0 - shift and token and raw_from.startswith(token, place + shift):
                place += len(token)
            else:
                offset_of = offset_of or _offsets(run)
                place = _clean_end(run, meant, spans, i, offset_of)
                place = place if place >= reached else -2
            reached = max(reached, place)
            yield max(place, -1)


def _clean_end(
    run: str, meant: list[bytes], spans: list[tuple[int, int]], i: int, offset_of: list[int]
) -> int:
    """Where token i ends by the spans, -2 unless the next begins there, blanks of its own apart."""
    if not spans:
        return -2
    end = spans[i][1]
    following = spans[i + 1][0] if i + 1 < len(spans) else len(run)
    between = run[end:following].encode() if following > end else b""
    owner = meant[i + 1] if i + 1 < len(meant) else b""
    clean = following >= end and owner.startswith(between)
    return offset_of[end] if clean else -2


def _offsets(run: str) -> list[int]:
    """The byte offset of every character, and of the end."""
    offsets = [0]
    for character in run:
        offsets.append(offsets[-1] + len(character.encode()))
    return offsets
