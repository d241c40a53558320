"""Tokenizes given bytes and reports the byte offset at which each token ends."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from esr_cli.models.token_bytes import token_bytes

# Decoding with `surrogateescape` turns every byte that is not valid UTF-8 into one of these.
BROKEN = re.compile("([\udc80-\udcff]+)")


class ByteWriter:
    """Writes bytes in a tokenizer's ids, with the byte offsets at which tokens certainly end."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.bytes_of = token_bytes(tokenizer)
        self.byte_ids = {
            meant: i
            for i, meant in enumerate(self.bytes_of)
            if meant is not None and len(meant) == 1
        }
        ids, _ = self._encode(" a")
        # Some tokenizers prepend a blank to a text, even if it already begins with one.
        self.doubles = b"".join(self.bytes_of[i] or b"" for i in ids) == b"  a"

    def write(self, text: bytes, ids: list[int], row: int) -> dict[int, int]:
        """Appends the ids of `text` to `ids`; returns the row at each byte offset that has one.

        The row at an offset is the number of ids before it. `row` is the row at offset 0 (-1:
        none).
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
            elif start in row_at:  # nothing is written: the row stays the same
                row_at[start + len(raw)] = row_at[start]
            start += len(raw)
        return row_at

    def _text(
        self, run: str, raw: bytes, start: int, ids: list[int], row_at: dict[int, int]
    ) -> None:
        # If the tokenizer prepends a blank anyway, the text's own leading blank is dropped.
        cut = int(self.doubles and run[:1] == " " and len(run) > 1)
        new_ids, spans = self._encode(run[cut:])
        spans = [(first + cut, last + cut) for first, last in spans]
        for number, end in zip(new_ids, self._ends(run, raw, new_ids, spans), strict=True):
            ids.append(number)
            if end >= 0:
                row_at.setdefault(start + end, len(ids))

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and the span of characters of each (empty for a tokenizer written in Python).

        Special tokens in the text are split: spelling out a special token is not sending it.
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
        """The offset in `raw` at which each token ends, -1 if that is uncertain.

        Bytes are compared as long as the tokens reproduce the text. After a token that does not (a
        composed character, an unknown word), the tokenizer's spans give the next certain offset.
        """
        spelled = [self.bytes_of[number] or b"" for number in ids]
        # A blank that the tokenizer prepends is not part of `raw`.
        prepended = int(bool(spelled) and spelled[0][:1] == b" " and raw[:1] != b" ")
        text = b" " * prepended + raw
        place = certain = 0  # offsets in `text`: the end of the tokens so far, the last certain one
        since = b""  # the bytes written after `certain`
        offset_of: list[int] = []
        for i, token in enumerate(spelled):
            since += token
            if place >= 0 and token and text.startswith(token, place):
                place += len(token)
            else:
                offset_of = offset_of or _offsets(run, prepended)
                place = _end_by_spans(run, spelled, spans, i, offset_of)
                if place < 0 and spans:
                    place = offset_of[_next_start(run, spans, i)]
                    place = place if _composed(text[certain:place]) == since else -1
                place = place if place >= certain else -1
            if place >= 0:
                certain, since = place, b""
            yield max(place - prepended, -1)


def _end_by_spans(
    run: str, spelled: list[bytes], spans: list[tuple[int, int]], i: int, offset_of: list[int]
) -> int:
    """The end of token i; -1 unless the next token begins there (or only blanks later)."""
    if not spans:
        return -1
    end, following = spans[i][1], _next_start(run, spans, i)
    next_token = spelled[i + 1] if i + 1 < len(spelled) else b""
    clean = following >= end and next_token.startswith(run[end:following].encode())
    return offset_of[end] if clean else -1


def _next_start(run: str, spans: list[tuple[int, int]], i: int) -> int:
    return spans[i + 1][0] if i + 1 < len(spans) else len(run)


def _composed(text: bytes) -> bytes:
    """Unicode normal form C, as in Qwen's tokenizer."""
    return unicodedata.normalize("NFC", text.decode(errors="replace")).encode()


def _offsets(run: str, first: int) -> list[int]:
    """The byte offset of every character and of the end; the first offset is `first`."""
    offsets = [first]
    for character in run:
        offsets.append(offsets[-1] + len(character.encode()))
    return offsets
