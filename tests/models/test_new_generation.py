"""A family whose new generation has a tokenizer of its own, as Qwen3.5 has: alignment, messages."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from conftest import read
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from tokenizers_at_hand import small
from transformers import PreTrainedTokenizerFast

from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.check.compatibility import vocabularies
from esr_cli.config import ConfigError
from esr_cli.models.vocabulary import align

ROWS = {"student": 448, "teacher": 704}
TEXT = ["Each term doubles: 1, 2, 4, 8, 16.", "Hence the sum of the first n terms is 2^n - 1."] * 20


@cache
def larger():
    """A byte-level BPE like `small`, trained on other lines: other words and ids."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=600, special_tokens=["<pad>", "<end>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


def pair_of(*overrides):
    """The pair of Qwen2.5 and Qwen3.5, with folders that are here and ends of the small ones."""
    pair = read("pair=qwen25_14b__qwen35_35b_a3b", *overrides).pair
    student, teacher = (
        replace(model, path="esr:student", revision=None) for model in (pair.student, pair.teacher)
    )
    return replace(pair, student=student, teacher=teacher, stop_tokens=["<end>"])


def test_the_pair_s_alignment_is_that_of_unlike_tokenizers():
    assert pair_of().alignment == "text"
    with pytest.raises(ConfigError, match=r"pair.alignment=auto: .* choose pair.alignment=text"):
        align(small(), larger(), "auto")


def test_the_check_names_tokens_rows_and_the_share():
    pair = pair_of()
    pairing = resolve_pairing(pair, small(), larger())
    first = vocabularies(pair, pairing, small(), larger(), ROWS)[0]
    known, count = {*small().get_vocab()} & {*larger().get_vocab()}, len(small())
    assert "<end>" in known and pairing.alignment.share == len(known) / count
    assert first.text == (
        f"student {count} tokens in 448 rows, teacher {len(larger())} in 704; different "
        f"tokenizers: the teacher retokenizes the text; {len(known) / count:.1%} of the student's "
        "are known to the teacher"
    )


def test_the_authors_recipe_needs_one_set_of_ids():
    for given, key in (
        ((), "pair.vocabulary=all"), (("pair.vocabulary=shared",), "pair.teacher.reads=student"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"{key}: needs vocabularies with the same ids"):
            resolve_pairing(pair_of("recipe=authors", *given), small(), larger())
    both = ("recipe=authors", "pair.vocabulary=shared", "pair.teacher.reads=own")
    assert resolve_pairing(pair_of(*both), small(), larger()).alignment.kind == "text"
