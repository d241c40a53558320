"""Special tokens that a text spells, against those that a template writes."""

from __future__ import annotations

import pytest
import tokenizers_at_hand as at_hand

from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.models.literal import Literal

MAKERS = {
    "lab bytes": bytes_tokenizer, "lab words": at_hand.words, "small": at_hand.small,
    "small, nfc": lambda: at_hand.small(nfc=True), "sentencepiece": at_hand.pieces,
    "sentencepiece, old": lambda: at_hand.pieces("twice"),
}  # fmt: skip
PARTS = ["Where  is\n it ? ", "é²≤😀", " plan", ""]


@pytest.fixture(scope="module", params=MAKERS)
def both(request):
    tokenizer = MAKERS[request.param]()
    return tokenizer, Literal(tokenizer)


def special(tokenizer):
    return [str(each) for each in tokenizer.added_tokens_decoder.values() if each.special]


def encode(tokenizer, text, split=False):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=split).input_ids


def test_the_special_tokens_of_a_template_are_encoded_as_by_the_tokenizer(both):
    tokenizer, literal = both
    tokens = special(tokenizer)
    assert literal.hidden(PARTS) == PARTS
    literal.hidden(tokens[0])
    texts = [left + token + right for left in PARTS for token in tokens for right in PARTS]
    marked = [literal.marked(text) for text in texts]
    assert literal.ids(marked) == [encode(tokenizer, text) for text in texts]


def test_a_spelt_special_token_is_text_beside_the_template_s_own(both):
    tokenizer, literal = both
    tokens = special(tokenizer)
    for token in tokens:
        [turn] = literal.hidden([{"content": f"a {token} b{token}{token}"}])
        assert token not in turn["content"]
        text = f"{tokens[0]} {turn['content']}{tokens[-1]}"
        shown = f"{tokens[0]} a {token} b{token}{token}{tokens[-1]}"
        assert literal.restored(text) == shown
        [ids] = literal.ids([literal.marked(text)])
        # The unknown-word token stands for words that the tokenizer lacks.
        numbers = set(tokenizer.convert_tokens_to_ids(tokens)) - {tokenizer.unk_token_id}
        own = tokenizer.convert_tokens_to_ids([tokens[0], tokens[-1]])
        assert [n for n in ids if n in numbers] == [n for n in own if n in numbers]


def test_spelt_tokens_are_split_as_by_the_library():
    tokenizer = bytes_tokenizer()
    literal, text = Literal(tokenizer), "<eos> plan<sep>x <bos>"
    [ids] = literal.ids([literal.marked(literal.hidden(text))])
    assert ids == encode(tokenizer, text, split=True) != encode(tokenizer, text)


def test_no_text_can_forge_a_secret_name():
    tokenizer = bytes_tokenizer()
    one, other = Literal(tokenizer), Literal(tokenizer)
    one.hidden("<eos>")
    [ids] = one.ids([other.marked("<eos>")])
    assert not set(ids) & set(tokenizer.all_special_ids)
