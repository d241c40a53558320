"""The lab: its word-level tokenizer, its training, and `esr lab`."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import AutoTokenizer

from esr_cli.config import ConfigError, LabConfig
from esr_cli.lab import training
from esr_cli.lab.command import run
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.lab import LabTask, careful, problem, quick

# Small enough for seconds: three operations modulo five.
SMALL: dict[str, Any] = {"chain_length": 3, "modulus": 5, "width": 64, "layers": 2, "heads": 2}
PACKAGED = ROOT / "esr_cli" / "models" / "lab_pair"


@pytest.mark.parametrize(("length", "modulus"), [(3, 5), (12, 7), (26, 50)])
def test_tokenizer_round_trip(length: int, modulus: int) -> None:
    tokenizer, rng = lab_tokenizer(), random.Random(0)
    special = set(tokenizer.all_special_ids)
    for index in range(20):
        posed = problem(index, "train", length, modulus)
        for text in (posed.question, careful(posed, rng), quick(posed, rng)):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.decode(ids) == text
            # An unknown word would be learnt as <unk>, or worse, as padding.
            assert not special & set(ids)


def test_template_and_lengths(tmp_path: Path) -> None:
    lab_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    task = LabTask(12, 7, Chat(tokenizer), Chat(lab_tokenizer()), seed=3)
    prompt = task.train(0, 1)[0]
    words = ["<bos>", *prompt.text.split(" "), "<sep>"]
    assert list(prompt.student_ids) == tokenizer.convert_tokens_to_ids(words)
    assert prompt.student_ids == prompt.teacher_ids
    assert len(prompt.student_ids) == 58
    posed = problem(0, "train", 12, 7)
    texts = careful(posed, random.Random(0)), quick(posed, random.Random(0))
    assert [len(tokenizer(text).input_ids) + 1 for text in texts] == [114, 82]


def test_labels_cover_the_response_alone() -> None:
    tokenizer, posed = lab_tokenizer(), problem(0, "train", 3, 5)
    texts = [careful(posed, random.Random(0)), quick(posed, random.Random(0))]
    ids_BL, labels_BL = training.encode(tokenizer, [(posed.question, text) for text in texts])
    for b, text in enumerate(texts):
        learnt = labels_BL[b][labels_BL[b] != -100]
        assert tokenizer.decode(learnt) == text + " <eos>"
        assert (labels_BL[b] == -100).sum() + len(learnt) == ids_BL.shape[1]


def test_a_reduced_lab_learns() -> None:
    config = LabConfig(**SMALL, batch=64)
    tokenizer = lab_tokenizer()
    model = lab_model(config, len(tokenizer), seed=1)

    def draw(rng: random.Random) -> training.Example:
        posed = problem(rng.randrange(10**6), "train", 3, 5)
        return posed.question, careful(posed, rng)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = training.linear_rates(config, 300)
        accuracy = training.train("teacher", model, tokenizer, draw, config, 1, rates, 0.9)
    finally:
        torch.set_num_threads(threads)
    # Chance is 0.2.
    assert accuracy >= 0.6


def test_a_pair_is_written_atomically_and_never_overwrites_another(tmp_path: Path) -> None:
    out = tmp_path / "pair"
    short = {"teacher_steps": 1, "student_steps": 1, "solid_steps": 1, "test_problems": 2}
    config = LabConfig(out=str(out), batch=2, **SMALL, **short)
    run(config)
    assert sorted(entry.name for entry in out.iterdir()) == ["lab.json", "student", "teacher"]
    assert str(tmp_path) not in (out / "lab.json").read_text()
    assert not list(tmp_path.glob("*.partial"))
    weights = out / "student" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    run(config)
    assert weights.stat().st_mtime_ns == made
    with pytest.raises(ConfigError, match="already holds a lab pair"):
        run(dataclasses.replace(config, student_seed=9))


def test_a_pair_interrupted_while_moving_is_not_trained_again(tmp_path: Path) -> None:
    out, partial = tmp_path / "pair", tmp_path / "pair.partial"
    short = {"teacher_steps": 1, "student_steps": 1, "solid_steps": 1, "test_problems": 2}
    config = LabConfig(out=str(out), batch=2, **SMALL, **short)
    run(config)
    partial.mkdir()
    for name in ("student", "lab.json"):
        (out / name).rename(partial / name)
    made = (partial / "student" / "model.safetensors").stat().st_mtime_ns
    run(config)
    assert (out / "student" / "model.safetensors").stat().st_mtime_ns == made
    assert not partial.exists()


def test_the_packaged_pair_has_this_tokenizer() -> None:
    for role in ("student", "teacher"):
        packaged = AutoTokenizer.from_pretrained(PACKAGED / role)
        assert packaged.get_vocab() == lab_tokenizer().get_vocab()
        assert packaged.chat_template == lab_tokenizer().chat_template


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("out", ""),
        ("chain_length", 27),
        ("chain_length", 0),
        ("modulus", 2),
        ("careful_share", 1.5),
        ("slip", -0.1),
        ("width", 97),
        ("batch", 0),
        ("learning_rate", 0.0),
        ("solid_steps", -1),
        ("test_problems", 0),
    ],
)
def test_an_invalid_setting_is_one_line(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        LabConfig(**{key: value})
    message = str(caught.value)
    assert message.startswith(f"{key}={value}: ") and "\n" not in message
