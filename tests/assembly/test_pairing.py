"""How two models meet: ends of text, the order of ids, classes of tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from esr_cli.assembly import pairing
from esr_cli.config import ConfigError, PairConfig
from esr_cli.distill.shared import Grouped, Shared
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models import classes as classes_module
from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import align


def settled(teacher, **pair):
    words = lab_tokenizer()
    models = PairConfig().student, PairConfig().teacher
    folders = [replace(model, path="esr:student") for model in models]
    config = PairConfig(student=folders[0], teacher=folders[1], **pair)
    return pairing.resolve_pairing(config, words, teacher), words


def test_one_tokenizer_needs_no_order_and_bars_nothing():
    found, words = settled(lab_tokenizer())
    assert found.columns == tuple(range(len(words))) and found.stop_ids == (2,)
    assert isinstance(found.shared, Shared) and found.shared.masked(len(words)) == ()
    assert found.shared.unknown_V is None
    assert found.shared.masked(len(words) + 3) == (len(words), len(words) + 1, len(words) + 2)


def with_chat_end(tokenizer):
    """Qwen's way: an end of a chat turn beside the end of text."""
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn_end>"]})
    return tokenizer


@pytest.mark.parametrize("merge", [True, False])
def test_an_end_that_only_one_side_has(merge):
    """The teacher's <turn_end> has no id in the student: rollouts stop at what the student has."""
    found, _ = settled(with_chat_end(lab_tokenizer()), merge_eos=merge, stop_tokens=["<turn_end>"])
    assert found.stop_ids == (2,)
    assert found.columns[-1] == 108, "what only the teacher has comes last"
    assert found.shared.ends == ((2,) if merge else ())


def test_ends_of_both_are_one_and_rollouts_stop_at_either():
    words = with_chat_end(lab_tokenizer())
    config = settled(lab_tokenizer())[0]
    assert config.stop_ids == (2,)
    pair = PairConfig(stop_tokens=["<turn_end>"])
    pair.student.path = pair.teacher.path = "esr:student"
    found = pairing.resolve_pairing(pair, words, with_chat_end(lab_tokenizer()))
    assert found.stop_ids == (2, 108) and found.shared.ends == (2, 108)
    # Here the student alone has two: the one that the teacher lacks still counts as an end.
    found = pairing.resolve_pairing(pair, words, lab_tokenizer())
    assert found.stop_ids == (2, 108) and found.shared.ends == (2, 108)
    assert found.shared.size == 109 and found.shared.masked(109) == ()


def renamed_end():
    """The lab's tokenizer with another name for its end of text."""
    tokenizer = lab_tokenizer()
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    raw["model"]["vocab"]["<over>"] = raw["model"]["vocab"].pop("<eos>")
    raw["added_tokens"] = [t for t in raw["added_tokens"] if t["content"] != "<eos>"]
    core = Tokenizer.from_str(json.dumps(raw))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<over>")


def test_ends_of_other_names_meet_where_they_are_merged_and_are_refused_where_not():
    found, _ = settled(renamed_end())
    assert found.stop_ids == (2,) and found.columns == tuple(range(108))
    assert found.shared.unknown_V is None, "the two ends mean one thing"
    with pytest.raises(ConfigError, match="merge_eos=false: the teacher knows none of the tokens"):
        settled(renamed_end(), merge_eos=False)


@pytest.fixture(scope="module")
def lab_classes():
    words, pieces = lab_tokenizer(), bytes_tokenizer()
    alignment = align(words, pieces, "text")
    ends = [words.eos_token_id], [pieces.eos_token_id]
    return words, pieces, classes_module.classes(alignment, words, pieces, *ends)


def class_of(lab_classes, word, piece):
    words, pieces, found = lab_classes
    of = {meant: i for i, meant in enumerate(token_bytes(words))}
    to = {meant: i for i, meant in enumerate(token_bytes(pieces))}
    return found.student[of[word]], found.teacher[to[piece]]


@pytest.mark.parametrize(
    ("word", "piece"),
    [
        (b" careful", b" careful"),
        # The teacher begins the word with a piece that the student does not have ...
        (b" answer", b" ans"),
        (b" plan", b" pl"),
        # ... or goes on beyond it.
        (b" +", b" + 5"),
        (b" by", b" by one"),
    ],
)
def test_tokens_that_begin_a_text_alike_are_one_class(lab_classes, word, piece):
    ours, theirs = class_of(lab_classes, word, piece)
    assert ours == theirs >= 0


def test_what_decides_stays_apart_and_every_class_has_both_sides(lab_classes):
    words, pieces, found = lab_classes
    ours, theirs = class_of(lab_classes, b" careful", b" quick")
    assert ours != theirs
    digits = {class_of(lab_classes, f" {d}".encode(), f" {d}".encode()) for d in range(7)}
    assert len(digits) == 7 and all(a == b for a, b in digits)
    assert set(found.student) - {-1} == set(found.teacher) - {-1} == set(range(found.count))
    # The ends meet, though their strings are special on both sides.
    assert found.student[words.eos_token_id] == found.teacher[pieces.eos_token_id] >= 0


def test_classes_of_one_tokenizer_with_itself_are_its_tokens():
    words = lab_tokenizer()
    found = classes_module.classes(align(words, words, "text"), words, words, (), ())
    assert found.student == found.teacher and found.count == len(words)


def test_grouped_and_shared_agree_where_tokenizers_are_one():
    torch.manual_seed(0)
    words = lab_tokenizer()
    found = classes_module.classes(align(words, words, "text"), words, words, (), ())
    grouped = Grouped(found.count, torch.tensor(found.student), torch.tensor(found.teacher))
    scaled = torch.randn(5, len(words), dtype=torch.float64)
    a, b = grouped.student(scaled), Shared(len(words)).student(scaled)
    assert (a[0] - b[0]).abs().max() < 1e-12 and a[1].abs().max() < 1e-12
