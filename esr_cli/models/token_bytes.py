"""The bytes that each token of a vocabulary stands for in a text."""

from __future__ import annotations

import re
from typing import Any

from esr_cli.config import ConfigError

# SentencePiece's sign for a blank, and its fallback token for a single byte.
BLANK = "▁"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _alphabet() -> dict[str, int]:
    """GPT-2's printable characters for the 256 bytes, each with its byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in plain]
    stand_ins = {chr(byte): byte for byte in plain}
    return stand_ins | {chr(256 + n): byte for n, byte in enumerate(hidden)}


BYTE_OF = _alphabet()


def token_strings(tokenizer: Any) -> list[str | None]:
    """The token string of every id, None for an id without a token."""
    vocabulary = tokenizer.get_vocab()
    strings: list[str | None] = [None] * (max([len(tokenizer) - 1, *vocabulary.values()]) + 1)
    for token, number in vocabulary.items():
        strings[number] = token
    return strings


def special_ids(tokenizer: Any) -> set[int]:
    """The ids of control tokens, which are not part of a text."""
    added = tokenizer.added_tokens_decoder
    return {number for number, token in added.items() if token.special} | {
        number for number in tokenizer.all_special_ids if number is not None
    }


def kind_of(tokenizer: Any) -> str:
    """How a tokenizer's tokens spell text, detected from its components.

    `bytes` is the byte-level alphabet, `pieces` SentencePiece's, `words` whole words joined by
    blanks, `other` anything else (WordPiece, models with a custom decoder).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        if hasattr(tokenizer, "sp_model"):
            return "pieces"
        return "bytes" if hasattr(tokenizer, "byte_decoder") else "other"
    parts = (backend.normalizer, backend.pre_tokenizer, backend.decoder)
    shape = b"".join(part.__getstate__() for part in parts if part is not None).decode()
    if '"ByteLevel"' in shape:
        return "bytes"
    if BLANK in shape or getattr(backend.model, "byte_fallback", False):
        return "pieces"
    return "words" if backend.decoder is None else "other"


def token_bytes(tokenizer: Any, strings: list[str | None] | None = None) -> list[bytes | None]:
    """The bytes of every id; None for a special token and for an id without a token.

    In the kind `words` every token includes the blank before it, also at the start of a text.
    `strings` are `token_strings(tokenizer)`, if the caller has them. Raises `ConfigError` if the
    way in which the tokenizer spells text is unknown.
    """
    kind = kind_of(tokenizer)
    if kind == "other":
        name = type(tokenizer).__name__
        raise ConfigError(f"pair.alignment=text: no bytes are known for the tokens of a {name}")
    to_bytes = {"bytes": _of_alphabet, "pieces": _of_piece, "words": _of_word}[kind]
    strings = strings or token_strings(tokenizer)
    spelled = [None if token is None else to_bytes(token) for token in strings]
    for number, added in tokenizer.added_tokens_decoder.items():
        if kind == "bytes":  # written as is, not in the byte alphabet
            spelled[number] = added.content.encode()
    for number in special_ids(tokenizer):
        if number < len(spelled):
            spelled[number] = None
    return spelled


def _of_alphabet(token: str) -> bytes:
    try:
        return bytes([BYTE_OF[character] for character in token])
    except KeyError:  # the decoder keeps a token outside the alphabet as it is
        return token.encode()


def _of_piece(token: str) -> bytes:
    byte = BYTE_PIECE.fullmatch(token) if token.startswith("<0x") else None
    return bytes([int(byte[1], 16)]) if byte else token.replace(BLANK, " ").encode()


def _of_word(token: str) -> bytes:
    return b" " + token.encode()
