"""The lab's problems and the two strategies that answer them."""

from __future__ import annotations

import random
import re

import pytest

from esr_cli.graders.lab import grade
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.lab import LabTask, Problem, careful, problem, quick

STEP = re.compile(r"(\w) : (\d+) ([+*-]) (\d+) = (\d+) ;")


def by_hand(left: int, op: str, right: int, modulus: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[op] % modulus


def test_splits_share_no_problem() -> None:
    # Two operations modulo three: with so few problems a wrong split would share most.
    train = {problem(i, "train", 2, 3).question for i in range(400)}
    held_out = {problem(i, "held_out", 2, 3).question for i in range(100)}
    assert train and held_out and not train & held_out


def test_problems_depend_on_index_and_split_alone() -> None:
    assert problem(7, "train", 12, 7) == problem(7, "train", 12, 7)
    assert problem(7, "train", 12, 7) != problem(8, "train", 12, 7)


def test_known_texts() -> None:
    posed = Problem(6, (("+", 5), ("*", 3), ("-", 6)), 7)
    assert posed.question == "Q : start 6 ; a + 5 ; b * 3 ; c - 6 ; find c ?"
    assert posed.answer == "6"
    assert careful(posed, random.Random(0)) == (
        "plan : careful , one by one . \n a : 6 + 5 = 4 ; b : 4 * 3 = 5 ; c : 5 - 6 = 6 ;"
        " \n so the answer is \\boxed{ 6 }"
    )
    assert quick(posed, random.Random(0)) == (
        "plan : quick , three at once . \n a : 6 + 5 = 4 ; b : 4 * 3 = 5 ;"
        " \n so the answer is \\boxed{ 5 }"
    )


@pytest.mark.parametrize("index", range(20))
def test_careful_computes_every_step_and_is_correct(index: int) -> None:
    posed = problem(index, "train", 12, 7)
    text = careful(posed, random.Random(index))
    value, steps = posed.start, STEP.findall(text)
    assert len(steps) == 12
    for _, left, op, right, result in steps:
        assert int(left) == value
        value = by_hand(value, op, int(right), 7)
        assert int(result) == value
    assert grade(text, posed.answer).correct


def test_quick_skips_every_third_step_and_is_correct_by_chance() -> None:
    rng, right = random.Random(0), 0
    for index in range(1000):
        posed = problem(index, "train", 12, 7)
        text = quick(posed, rng)
        steps = STEP.findall(text)
        assert "".join(step[0] for step in steps) == "abdeghjk"
        assert all(by_hand(int(a), op, int(b), 7) == int(c) for _, a, op, b, c in steps)
        right += grade(text, posed.answer).correct
    # Chance is 1/7, plus or minus five standard errors.
    assert 0.085 < right / 1000 < 0.20


def test_slip_falls_back_after_the_first_block() -> None:
    posed = problem(0, "train", 12, 7)
    text = careful(posed, random.Random(0), slip=1.0)
    assert text.startswith("plan : careful")
    assert "".join(step[0] for step in STEP.findall(text)) == "abcdeghjk"


def test_prompts_depend_on_seed_and_step() -> None:
    task = LabTask(12, 7, Chat(lab_tokenizer()), Chat(lab_tokenizer()), seed=3)
    other = LabTask(12, 7, Chat(lab_tokenizer()), Chat(lab_tokenizer()), seed=4)
    assert task.train(5, 4) == task.train(5, 4)
    seen = [p.id for step in range(5) for p in task.train(step, 4)]
    assert len(set(seen)) == len(seen)
    assert not {p.text for p in task.train(0, 8)} & {p.text for p in other.train(0, 8)}
