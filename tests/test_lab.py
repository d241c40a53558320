"""The lab: its problems, its two strategies, its grader, and that its models learn."""

from __future__ import annotations

import json
import random
import re

import pytest
from transformers import AutoTokenizer

from esr_cli import lab
from esr_cli.config import ConfigError, LabConfig
from esr_cli.graders.lab import grade
from esr_cli.graders.statistics import mean_interval, repeats
from esr_cli.models.lab import lab_tokenizer
from esr_cli.models.loading import resolve
from esr_cli.tasks.lab import LabTask, apply, careful, problem, quick

STEP = re.compile(r"\w : (\d+) ([-+*]) (\d+) = (\d+) ;")


def test_train_and_held_out_share_nothing():
    # Two operations leave few enough problems that an overlap would show.
    trained = {problem(i, "train", 2, 7).question for i in range(3000)}
    held_out = {problem(i, "held_out", 2, 7).question for i in range(300)}
    assert not trained & held_out and len(held_out) > 50


def test_careful_is_right_and_quick_skips_every_third():
    rng = random.Random(0)
    hits = 0
    for index in range(200):
        posed = problem(index, "train", 12, 7)
        for text, count in ((careful(posed, rng), 12), (quick(posed, rng), 8)):
            steps = STEP.findall(text)
            assert len(steps) == count
            for left, op, right, result in steps:
                assert apply(op, int(left), int(right), 7) == int(result)
        assert grade(careful(posed, rng), posed.answer).correct
        hits += grade(quick(posed, rng), posed.answer).correct
    assert hits < 60, "quick answers should be right about one time in seven"


def test_slip_falls_back_at_a_block_and_error_spoils_results():
    posed = problem(3, "train", 12, 7)
    slipped = careful(posed, random.Random(0), slip=1.0)
    assert len(STEP.findall(slipped)) == 3 + 6
    wrong = careful(posed, random.Random(0), error=1.0)
    steps = STEP.findall(wrong)
    assert any(apply(op, int(a), int(b), 7) != int(c) for a, op, b, c in steps)


@pytest.mark.parametrize(
    ("response", "correct"),
    [
        ("\\boxed{ 3 }", True),
        ("\\boxed{3}", True),
        ("\\boxed{ 1 } so \\boxed{ 3 }", True),
        ("\\boxed{ 3 } so \\boxed{ 1 }", False),
        ("3", False),
        ("\\boxed{ 3", False),
        ("", False),
    ],
)
def test_the_grader_takes_the_last_box(response, correct):
    assert grade(response, "3").correct is correct


def test_the_shipped_tokenizer_is_the_one_the_code_makes():
    shipped = AutoTokenizer.from_pretrained(resolve("esr:student"))
    assert shipped.get_vocab() == lab_tokenizer().get_vocab()
    assert shipped.eos_token_id != shipped.pad_token_id
    prompt = LabTask(12, 7, shipped, shipped, 0).train(0, 1)[0]
    assert len(prompt.student_ids) == 58
    assert shipped.decode(prompt.student_ids) == f"<bos> {prompt.text} <sep>"


def test_a_step_has_fresh_problems_decided_by_the_seed():
    tokenizer = lab_tokenizer()
    task = LabTask(12, 7, tokenizer, tokenizer, seed=1)
    assert task.train(3, 4) == LabTask(12, 7, tokenizer, tokenizer, seed=1).train(3, 4)
    ids = [p.id for step in range(5) for p in task.train(step, 4)]
    assert len(set(ids)) == 20
    assert task.held_out(4) == LabTask(12, 7, tokenizer, tokenizer, seed=2).held_out(4)


def test_intervals_and_repetition_by_hand():
    assert mean_interval([0.0, 1.0] * 50) == pytest.approx((0.5, 0.4015, 0.5985), abs=1e-4)
    assert mean_interval([1.0] * 5) == (1.0, 1.0, 1.0)
    assert repeats(list(range(10)) * 3) and not repeats(list(range(100)))


def test_a_reduced_lab_learns(tmp_path):
    """Chains of one operation modulo 3: above chance by far within a minute."""
    config = LabConfig(
        out=str(tmp_path / "pair"), chain_length=1, modulus=3, width=64, heads=2, layers=2, mlp=128,
        teacher_steps=150, student_steps=60, solid_steps=10, test_problems=8,
    )  # fmt: skip
    lab.run(config)
    record = json.loads((tmp_path / "pair" / "lab.json").read_text())
    assert record["teacher"]["greedy"] > 0.8, record
    with pytest.raises(ConfigError, match="already holds"):
        lab.run(config)


def test_a_senseless_lab_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="width=97: give a multiple of 3"):
        LabConfig(width=97)
