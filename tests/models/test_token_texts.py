"""The texts of single tokens."""

from __future__ import annotations

from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.models.spelling import Spelling


def test_token_texts_join_to_the_response_for_any_bytes():
    pieces = bytes_tokenizer()
    ids = pieces(" plan \u00e9\u2264 so", add_special_tokens=False).input_ids
    ids = [*ids, pieces.eos_token_id]
    spelt = Spelling(pieces)(ids)
    assert len(spelt) == len(ids) and "".join(spelt) == " plan \u00e9\u2264 so<eos>"
