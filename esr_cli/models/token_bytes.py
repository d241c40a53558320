"""What each token of a vocabulary stands for in a text, as bytes."""

from __future__ import annotations

import re
from typing import Any

from esr_cli.config import ConfigError

# SentencePiece's blank, and its token for one byte that no piece covers.
BLANK = "▁"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _alphabet() -> dict[str, int]:
    """The printable stand-ins of the 256 bytes, as GPT-2 chose them."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in plain]
    stand_ins = {chr(byte): byte for byte in plain}
    return stand_ins | {chr(256 + n): byte for n, byte in enumerate(hidden)}


BYTE_OF = _alphabet()


def token_strings(tokenizer: Any) -> list[str | None]:
    """The vocabulary's own spelling of every id, None for an id without a token."""
    vocabulary = tokenizer.get_vocab()
    strings: list[str | None] = [None] * (max([len(tokenizer) - 1, *vocabulary.values()]) + 1)
    for token, number in vocabulary.items():
        strings[number] = token
    return strings


def special_ids(tokenizer: Any) -> set[int]:
    """The ids of tokens that steer the model and are no part of a text."""
    added = tokenizer.added_tokens_decoder
    return {number for number, token in added.items() if token.special} | {
        number for number in tokenizer.all_special_ids if number is not None
    }


def kind_of(tokenizer: Any) -> str:
    """How tokens spell text, read off the tokenizer's parts.

    `bytes` is the byte-level alphabet, `pieces` SentencePiece's, `words` whole words that a text
    joins by blanks, `other` anything else (WordPiece, models with a decoder of their own).
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

    In the kind `words` every token carries the blank before it, the first of a text too. `strings`
    spares a second look at the vocabulary where the caller has them. Raises `ConfigError` where the
    tokenizer spells text in a way not known here.
    """
    kind = kind_of(tokenizer)
    if kind == "other":
        name = type(tokenizer).__name__
        raise ConfigError(f"pair.alignment=text: no bytes are known for the tokens of a {name}")
    spell = {"bytes": _of_alphabet, "pieces": _of_piece, "words": _of_word}[kind]
    strings = strings or token_strings(tokenizer)
    found = [None if token is None else spell(token) for token in strings]
    for number, added in tokenizer.added_tokens_decoder.items():
        if kind == "bytes":  # its characters are themselves, not stand-ins of bytes
            found[number] = added.content.encode()
    for number in special_ids(tokenizer):
        if number < len(found):
            found[number] = None
    return found


def _of_alphabet(token: str) -> bytes:
    try:
        return bytes([BYTE_OF[character] for character in token])
    except KeyError:  # outside the alphabet the decoder takes a token as it is written
        return token.encode()


def _of_piece(token: str) -> bytes:
    byte = BYTE_PIECE.fullmatch(token) if token.startswith("<0x") else None
    return bytes([int(byte[1], 16)]) if byte else token.replace(BLANK, " ").encode()


def _of_word(token: str) -> bytes:
    return b" " + token.encode()
