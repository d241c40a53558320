"""A response cut into the texts of its tokens, so that together they spell it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.models.token_bytes import token_bytes


class Spelling:
    """The text of each token. A character whose bytes lie in several stands at the last of them;
    special tokens are written by their name.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        try:
            self._bytes = token_bytes(tokenizer)
        except ConfigError:  # it spells in a way of its own: each token alone, blanks uncertain
            self._bytes = []

    def __call__(self, ids: Sequence[int]) -> tuple[str, ...]:
        """One text a token."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return tuple(self._one(number, decoder) for number in ids)

    def _one(self, number: int, decoder: codecs.IncrementalDecoder) -> str:
        known = self._bytes[number] if number < len(self._bytes) else None
        if known is not None:
            return decoder.decode(known)
        begun = decoder.decode(b"", final=True)
        if not self._bytes:
            return begun + self.tokenizer.decode([number])
        return begun + str(self.tokenizer.convert_ids_to_tokens(number) or "")
