"""The lab: its word-level tokenizer, its training, and `esr lab`."""

from __future__ import annotations

import dataclasses
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import AutoTokenizer

from esr_cli.base.failures import Failure
from esr_cli.config import ConfigError, LabConfig
from esr_cli.lab import build, cache, training
from esr_cli.lab.command import folder_of, members, run
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import END, lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.lab import LabTask, apply, careful, problem, quick

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


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabConfig:
    """Models that are hardly trained, with an empty cache."""
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    short = {"teacher_steps": 1, "student_steps": 1, "solid_steps": 1, "test_problems": 2}
    return LabConfig(run_dir=str(tmp_path / "pair"), batch=2, **SMALL, **short)


def test_a_pair_never_overwrites_another_and_is_not_trained_twice(small: LabConfig) -> None:
    out = Path(str(small.run_dir))
    run(small)
    assert sorted(entry.name for entry in out.iterdir()) == ["lab.json", "student", "teacher"]
    text = (out / "lab.json").read_text()
    assert str(out.parent) not in text and "greedy" in text
    weights = out / "student" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    run(small)
    assert weights.stat().st_mtime_ns == made
    with pytest.raises(ConfigError, match="already holds a lab pair"):
        run(dataclasses.replace(small, student_seed=9))
    # The same models are copied from the cache, even if nothing could be trained now.
    other = dataclasses.replace(small, run_dir=str(out.with_name("other")))
    assert not cache.missing(other, [("teacher", 1), ("student", 3)])
    run(other)
    same = (out.with_name("other") / "student" / "model.safetensors").read_bytes()
    assert same == weights.read_bytes()


def test_a_population_grows_and_goes_on_where_it_was(small: LabConfig) -> None:
    population = dataclasses.replace(small, students=2, run_dir=None)
    folder = folder_of(population)
    run(population)
    assert sorted(path.name for path in folder.iterdir()) == [
        "lab.json", "student_02", "student_03", "teacher",
    ]  # fmt: skip
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    shutil.rmtree(folder / "student_03")
    more = dataclasses.replace(population, students=3, jobs=1, student_seed=7)
    assert folder_of(more) == folder, "neither the number nor the pair's seed is part of it"
    assert cache.missing(more, list(members(more).values())) == [("student", 4)]
    run(more)
    assert {path.parent.name for path in folder.rglob("*.safetensors")} == set(members(more))
    assert all(path.stat().st_mtime_ns == at for path, at in made.items() if "03" not in str(path))
    assert members(dataclasses.replace(more, teacher_seed=3)) == {
        "teacher": ("teacher", 3), "student_02": ("student", 2), "student_04": ("student", 4),
        "student_05": ("student", 5),
    }  # fmt: skip


def test_a_model_that_another_command_trains_is_waited_for(small: LabConfig) -> None:
    member = ("student", 3)
    folder = cache.folder_of(small, member)
    with ThreadPoolExecutor() as pool:
        with cache.lock(folder):
            waiting = pool.submit(cache.trained, small, [member])
            while "-> FLOCK" not in Path("/proc/locks").read_text():
                assert not waiting.done(), "it did not wait"
                time.sleep(0.05)
            folder.mkdir()
            (folder / cache.ACCURACY).write_text("of the other")
        assert waiting.result() == {member: folder}
    assert [path.name for path in folder.iterdir()] == [cache.ACCURACY], "trained once"


def test_the_cache_knows_what_a_model_depends_on(small: LabConfig) -> None:
    def folders(**changes: Any) -> tuple[Path, Path]:
        config = dataclasses.replace(small, **changes)
        return cache.folder_of(config, ("teacher", 1)), cache.folder_of(config, ("student", 2))

    teacher, student = folders()
    assert folders(run_dir="x", jobs=1, students=9, student_seed=5) == (teacher, student)
    for key, value in (("slip", 0.5), ("careful_share", 0.1), ("student_steps", 2)):
        assert folders(**{key: value})[0] == teacher and folders(**{key: value})[1] != student
    for key, value in (("teacher_late_error", 0.5), ("teacher_steps", 2)):
        assert folders(**{key: value})[0] != teacher and folders(**{key: value})[1] == student
    assert not {*folders(width=128), *folders(modulus=7)} & {teacher, student}


def test_a_model_that_fails_is_named_with_its_reason(small: LabConfig) -> None:
    cache.folder_of(small, ("student", 3)).parent.mkdir(parents=True)
    cache.folder_of(small, ("student", 3)).write_text("in the way")
    with pytest.raises(Failure, match=r"the student of seed 3 could not be trained: .+"):
        run(small)
    assert not Path(str(small.run_dir)).exists()


def test_two_ends_are_learnt_and_the_teacher_has_its_own() -> None:
    config = LabConfig(two_ends=True, second_end_share=0.25)
    rng = random.Random(0)
    teacher, student = build.tokenizer_of("teacher", config), build.tokenizer_of("student", config)
    assert teacher.get_vocab() == student.get_vocab() and len(student) == 109
    assert (teacher.eos_token, student.eos_token) == (END, "<eos>")
    for tokenizer, role in ((teacher, "teacher"), (student, "student")):
        drawn = [build.example(role, config, rng) for _ in range(200)]
        ids_BL, labels_BL = training.encode(tokenizer, drawn)
        last = [int(ids[labels != -100][-1]) for ids, labels in zip(ids_BL, labels_BL, strict=True)]
        count = last.count(108)
        assert count == 200 if role == "teacher" else 30 < count < 70
        assert set(last) <= {2, 108} and not (ids_BL == 2).all(1).any()


def test_late_errors_grow_from_none_at_the_first_operation() -> None:
    rng, wrong = random.Random(0), [0] * 12
    for index in range(400):
        posed = problem(index, "train", 12, 7)
        written = careful(posed, rng, late_error=0.6).split(" ; ")
        for i, step in enumerate(written[:12]):
            left, op, operand, result = step.replace("=", " ").split()[-4:]
            wrong[i] += apply(op, int(left), int(operand), 7) != int(result)
    # A result drawn at random is right by chance one time in seven.
    assert wrong[0] == 0 and abs(wrong[11] / 400 - 0.6 * 6 / 7) < 0.08
    assert abs(wrong[6] / 400 - 0.6 * 6 / 11 * 6 / 7) < 0.08


def test_the_packaged_pair_has_this_tokenizer() -> None:
    for role in ("student", "teacher"):
        packaged = AutoTokenizer.from_pretrained(PACKAGED / role)
        assert packaged.get_vocab() == lab_tokenizer().get_vocab()
        assert packaged.chat_template == lab_tokenizer().chat_template


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_dir", ""),
        ("chain_length", 27),
        ("chain_length", 0),
        ("modulus", 2),
        ("careful_share", 1.5),
        ("students", 0),
        ("teacher_late_error", 1.1),
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
