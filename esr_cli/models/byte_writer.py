"""A tokenizer that writes given bytes, and tells where in them each of its tokens ends."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from esr_cli.models.token_bytes import token_bytes

# Decoding with `surrogateescape` turns every byte that is no UTF-8 into one of these.
BROKEN = re.compile("([\udc80-\udcff]+)")


class ByteWriter:
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
        own = int(bool(meant) and meant[0][:1] == b" " and raw[:1] != b" ")
        text = b" " * own + raw
        place = sure = 0  # in `text`: where the tokens so far end, and the last certain such place
        since = b""  # what was written behind `sure`
        offset_of: list[int] = []
        for i, token in enumerate(meant):
            since += token
            if place >= 0 and token and text.startswith(token, place):
                place += len(token)
            else:
                offset_of = offset_of or _offsets(run, own)
                place = _end_by_spans(run, meant, spans, i, offset_of)
                if place < 0 and spans:
                    place = offset_of[_next_start(run, spans, i)]
                    place = place if _composed(text[sure:place]) == since else -1
                place = place if place >= sure else -1
            if place >= 0:
                sure, since = place, b""
            yield max(place - own, -1)


def _end_by_spans(
    run: str, meant: list[bytes], spans: list[tuple[int, int]], i: int, offset_of: list[int]
) -> int:
    """Where token i ends, -1 unless the next begins there, blanks of its own apart."""
    if not spans:
        return -1
    end, following = spans[i][1], _next_start(run, spans, i)
    owner = meant[i + 1] if i + 1 < len(meant) else b""
    clean = following >= end and owner.startswith(run[end:following].encode())
    return offset_of[end] if clean else -1


def _next_start(run: str, spans: list[tuple[int, int]], i: int) -> int:
    return spans[i + 1][0] if i + 1 < len(spans) else len(run)


def _composed(text: bytes) -> bytes:
    """In normal form C, to which Qwen's tokenizer brings a text."""
    return unicodedata.normalize("NFC", text.decode(errors="replace")).encode()


def _offsets(run: str, first: int) -> list[int]:
    """The byte offset of every character, and of the end, counted from `first`."""
    offsets = [first]
    for character in run:
        offsets.append(offsets[-1] + len(character.encode()))
    return offsets
