"""The lab's byte-level tokenizer against the word-level one: same text, other boundaries."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from esr_cli.config import ConfigError, LabConfig
from esr_cli.graders.lab import grade
from esr_cli.lab import training
from esr_cli.lab.byte_tokenizer import bytes_tokenizer, merges
from esr_cli.lab.command import run
from esr_cli.lab.tokenizers import TOKENIZERS, lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.lab import LabTask, Problem, careful, problem, quick

POSED = Problem(6, (("+", 5), ("*", 3), ("-", 6)), 7)
CHAINS = [(3, 5), (12, 7), (26, 50)]


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def pieces(text: str) -> list[str]:
    tokenizer = bytes_tokenizer()
    return [tokenizer.decode([number]) for number in ids_of(tokenizer, text)]


def texts(length: int, modulus: int, count: int = 20) -> Iterator[tuple[Problem, str]]:
    rng = random.Random(0)
    for index in range(count):
        posed = problem(index, "train", length, modulus)
        for text in (careful(posed, rng), quick(posed, rng)):
            yield posed, f" {text}"


def spans(lengths: list[int]) -> list[tuple[int, int]]:
    """First and last byte of every token."""
    ends = list(accumulate(lengths))
    return list(zip([0, *ends], ends, strict=False))


def test_the_tokens_of_a_known_text() -> None:
    text = careful(POSED, random.Random(0))
    assert pieces(f" {text}") == [
        " pl", "an", " :", " careful", " ,", " one", " by one", " . \n",
        " a", " :", " 6", " + 5", " =", " 4", " ;", " b", " :", " 4", " *", " 3", " =", " 5", " ;",
        " c", " :", " 5", " -", " 6", " =", " 6", " ;",
        " \n", " so the", " ans", "wer", " is", " \\", "boxed", "{", " 6", " }",
    ]  # fmt: skip


@pytest.mark.parametrize(("length", "modulus"), CHAINS)
def test_round_trip_and_grade(length: int, modulus: int) -> None:
    tokenizer = bytes_tokenizer()
    for posed, text in texts(length, modulus):
        for each in (text, f" {posed.question}", text[1:]):
            ids = ids_of(tokenizer, each)
            assert tokenizer.decode(ids) == each
            assert not set(tokenizer.all_special_ids) & set(ids)
        read = tokenizer.decode([*ids_of(tokenizer, text), tokenizer.eos_token_id])
        assert grade(read, posed.answer) == grade(text, posed.answer)


def test_unknown_bytes_survive_a_round_trip() -> None:
    tokenizer = bytes_tokenizer()
    text = "  Ünknown\t\x00 wörds 雪  \n\n"
    assert tokenizer.decode(ids_of(tokenizer, text)) == text


@pytest.mark.parametrize(("length", "modulus"), CHAINS)
def test_choices_and_results_are_single_tokens(length: int, modulus: int) -> None:
    for _, text in texts(length, modulus):
        found = pieces(text)
        assert (" careful" in found) != (" quick" in found)
        results = [right for left, right in pairwise(found) if left == " ="]
        words = text.split(" ")
        assert results == [f" {right}" for left, right in pairwise(words) if left == "="]


def test_boundaries_differ_from_the_words_in_both_directions() -> None:
    tokenizer, tokens, aligned, alike, only_bytes = bytes_tokenizer(), 0, 0, 0, 0
    for _, text in texts(12, 7):
        words = spans([len(f" {word}") for word in text[1:].split(" ")])
        ours = spans([len(tokenizer.decode([each])) for each in ids_of(tokenizer, text)])
        tokens += len(words)
        aligned += len({start for start, _ in words} & {start for start, _ in ours})
        alike += len(set(words) & set(ours))
        only_bytes += len({start for start, _ in ours} - {start for start, _ in words})
    # Shares of the words that start with a piece, and that are one piece.
    assert 0.9 < aligned / tokens < 0.97
    assert 0.8 < alike / tokens < 0.9
    assert only_bytes > 0


def test_the_vocabulary_is_small_and_deterministic(tmp_path: Path) -> None:
    tokenizer = bytes_tokenizer()
    assert len(merges()) <= 200 and len(tokenizer) == 4 + 256 + len(merges())
    assert tokenizer.backend_tokenizer.to_str() == bytes_tokenizer().backend_tokenizer.to_str()
    # The ids in the configuration of `lab_model`.
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<bos>", "<eos>", "<sep>"]) == [0, 1, 2, 3]
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read.get_vocab() == tokenizer.get_vocab()
    assert read.all_special_ids == tokenizer.all_special_ids
    for _, text in texts(12, 7, count=3):
        assert ids_of(read, text) == ids_of(tokenizer, text)


def test_the_template_puts_a_blank_before_the_question() -> None:
    tokenizer = bytes_tokenizer()
    prompt = LabTask(12, 7, Chat(lab_tokenizer()), Chat(tokenizer), seed=3).train(0, 1)[0]
    asked = f"<bos> {prompt.text}<sep>"
    assert tokenizer.decode(prompt.teacher_ids) == asked
    assert list(prompt.teacher_ids) == [1, *ids_of(tokenizer, f" {prompt.text}"), 3]
    turns = [{"role": "user", "content": prompt.text}, {"role": "assistant", "content": "plan"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == f"<bos> {prompt.text} plan<eos>"


@pytest.mark.parametrize("name", ["words", "bytes"])
def test_a_learnt_response_begins_with_a_blank_and_ends(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    text = careful(POSED, random.Random(0))
    _, labels_BL = training.encode(tokenizer, [(POSED.question, text)])
    learnt = labels_BL[0][labels_BL[0] != -100].tolist()
    # The word-level tokenizer drops the leading blank: there it separates tokens.
    assert tokenizer.decode(learnt[:-1]) == (text if name == "words" else f" {text}")
    assert learnt[-1] == tokenizer.eos_token_id


def test_a_pair_with_different_tokenizers_is_written(tmp_path: Path) -> None:
    out = tmp_path / "pair"
    tiny: dict[str, Any] = {
        "chain_length": 3, "modulus": 5, "width": 16, "layers": 1, "heads": 1, "mlp": 16,
        "batch": 2, "teacher_steps": 1, "student_steps": 1, "solid_steps": 1, "test_problems": 2,
    }  # fmt: skip
    run(LabConfig(run_dir=str(out), teacher_tokenizer="bytes", **tiny))
    for role, made in (("teacher", bytes_tokenizer()), ("student", lab_tokenizer())):
        assert AutoTokenizer.from_pretrained(out / role).get_vocab() == made.get_vocab()
        assert f'"vocab_size": {len(made)}' in (out / role / "config.json").read_text()


@pytest.mark.parametrize("key", ["student_tokenizer", "teacher_tokenizer"])
def test_an_unknown_tokenizer_is_one_line(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}=letters: choose one of words, bytes$"):
        LabConfig(**{key: "letters"})
