"""Decodes token ids: the text of a response, and the texts of its single tokens."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.models.token_bytes import token_bytes
from esr_cli.types import without_ends


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of the ids as they were written: special tokens by name, no blanks changed."""
    return tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def response_text(tokenizer: Any, ids: Sequence[int], stop_ids: Sequence[int] = ()) -> str:
    """What graders and records read of a response: all but the end and padding tokens at its end.

    Other special tokens stay: many tokenizers mark `<think>` or `<tool_call>` as special.
    """
    ends = {*stop_ids, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return decoded(tokenizer, without_ends(ids, ends))


class Spelling:
    """Decodes ids token by token.

    A character whose bytes are spread over several tokens is in the text of the last of them.
    Special tokens are written by name.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        try:
            self._bytes = token_bytes(tokenizer)
        except ConfigError:  # unknown spelling: each token is decoded alone, so blanks may be lost
            self._bytes = []

    def __call__(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each token."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return tuple(self._one(number, decoder) for number in ids)

    def _one(self, number: int, decoder: codecs.IncrementalDecoder) -> str:
        spelled = self._bytes[number] if number < len(self._bytes) else None
        if spelled is not None:
            return decoder.decode(spelled)
        pending = decoder.decode(b"", final=True)
        if not self._bytes:
            return pending + decoded(self.tokenizer, [number])
        return pending + str(self.tokenizer.convert_ids_to_tokens(number) or "")
