"""The pairing of two models: end-of-text tokens, the order of ids, shared tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from esr_cli.assembly import pairing
from esr_cli.config import ConfigError, PairConfig
from esr_cli.distill.shared import Shared
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.loading import PACKAGED, load_tokenizer


def resolved(teacher, **pair):
    words = lab_tokenizer()
    models = PairConfig().student, PairConfig().teacher
    folders = [replace(model, path="esr:student") for model in models]
    config = PairConfig(student=folders[0], teacher=folders[1], **pair)
    return pairing.resolve_pairing(config, words, teacher), words


def test_equal_tokenizers_need_no_reordering_and_no_mask():
    found, words = resolved(lab_tokenizer())
    assert found.columns == tuple(range(len(words))) and found.stop_ids == (2,)
    assert isinstance(found.shared, Shared) and found.shared.masked(len(words)) == ()
    assert found.shared.unknown_V is None
    assert found.shared.masked(len(words) + 3) == (len(words), len(words) + 1, len(words) + 2)


def with_chat_end(tokenizer):
    """Adds an end-of-turn token beside the end-of-text token, as Qwen has it."""
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn_end>"]})
    return tokenizer


@pytest.mark.parametrize("merge", [True, False])
def test_a_stop_token_that_only_the_teacher_has(merge):
    """The teacher's <turn_end> has no id in the student: rollouts stop at the student's token."""
    found, _ = resolved(with_chat_end(lab_tokenizer()), merge_eos=merge, stop_tokens=["<turn_end>"])
    assert found.stop_ids == (2,)
    assert found.columns[-1] == 108, "ids that only the teacher has come last"
    assert found.shared.ends == ((2,) if merge else ())


def test_stop_tokens_are_merged_and_rollouts_stop_at_either():
    words = with_chat_end(lab_tokenizer())
    config = resolved(lab_tokenizer())[0]
    assert config.stop_ids == (2,)
    pair = PairConfig(stop_tokens=["<turn_end>"])
    pair.student.path = pair.teacher.path = "esr:student"
    found = pairing.resolve_pairing(pair, words, with_chat_end(lab_tokenizer()))
    assert found.stop_ids == (2, 108) and found.shared.ends == (2, 108)
    # Only the student has two: the one that the teacher lacks is still a stop token.
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


def test_stop_tokens_of_other_names_are_merged_or_refused():
    found, _ = resolved(renamed_end())
    assert found.stop_ids == (2,) and found.columns == tuple(range(108))
    assert found.shared.unknown_V is None, "the two end-of-text tokens are merged"
    with pytest.raises(ConfigError, match="merge_eos=false: the teacher knows none of the tokens"):
        resolved(renamed_end(), merge_eos=False)


def test_stopping_at_the_students_own_end_still_compares_all_ends_as_one():
    pair = PairConfig(stop_tokens=["<turn_end>"], stop="student")
    pair.student.path = pair.teacher.path = "esr:student"
    two = with_chat_end(lab_tokenizer()), with_chat_end(lab_tokenizer())
    found = pairing.resolve_pairing(pair, *two)
    assert found.stop_ids == (2,) and found.student_ends == (2, 108)
    assert found.shared.ends == (2, 108)
    apart = pairing.resolve_pairing(replace(pair, merge_eos=False), *two)
    assert apart.stop_ids == (2,) and apart.shared.ends == ()


def padded(folder, role, rows):
    """A folder with the configuration of a packaged model whose head has more rows."""
    settings = json.loads((PACKAGED / role / "config.json").read_text())
    (folder / role).mkdir()
    (folder / role / "config.json").write_text(json.dumps(settings | {"vocab_size": rows}))
    return str(folder / role)


def test_all_rows_are_compared_padding_and_unknown_tokens_included(tmp_path):
    """The softmax runs over all rows that both heads have, as if no token were unknown."""
    pair = PairConfig(vocabulary="all", merge_eos=False)
    pair.student.path = padded(tmp_path, "student", 114)
    pair.teacher.path = padded(tmp_path, "teacher", 112)
    words = with_chat_end(lab_tokenizer())
    found = pairing.resolve_pairing(pair, words, lab_tokenizer())
    assert found.columns == tuple(range(112)) and found.shared.size == 112
    assert found.shared.masked(112) == () and found.shared.masked(114) == (112, 113)
    assert found.reader.read((5, 108, 111, 2, 6)).ids == (5, 108, 111, 2)
    logits_RV = torch.randn(3, 114, generator=torch.Generator().manual_seed(0))
    log_q_RW, outside_R = found.shared.student(logits_RV)
    assert torch.allclose(log_q_RW, logits_RV[:, :112].log_softmax(-1), atol=1e-6)
    assert torch.allclose(outside_R, logits_RV.softmax(-1)[:, 112:].sum(-1), atol=1e-6)
    shared = pairing.resolve_pairing(replace(pair, vocabulary="shared"), words, lab_tokenizer())
    assert shared.shared.size == 108, "the token that the teacher lacks is outside"


@pytest.mark.parametrize("alignment", ["tokens", "text"])
def test_rows_and_prompts_can_only_be_shared_by_equal_ids(alignment, bytes_teacher):
    teacher = lab_tokenizer() if alignment == "tokens" else load_tokenizer(str(bytes_teacher))
    with pytest.raises(ConfigError, match=rf"pair.vocabulary=all: .* by {alignment}; give"):
        resolved(teacher, alignment=alignment, vocabulary="all")
    pair = PairConfig(alignment=alignment)
    pair.student.path, pair.teacher.path = "esr:student", "esr:teacher"
    pair.teacher.reads = "student"
    with pytest.raises(ConfigError, match=r"pair.teacher.reads=student: .* the same ids"):
        pairing.resolve_pairing(pair, lab_tokenizer(), teacher)
