"""Word problems: their stories, their solutions, and the settings that make them harder."""

from __future__ import annotations

import random
import re

import pytest
from conftest import read

from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, ConfigError, EvalConfig
from esr_cli.config.words import WordsConfig
from esr_cli.graders.math import MathGrader
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.words import STRATEGIES, Change, Story, WordsTask, solution, story

TOLD = {
    "buys": "+", "finds": "+", "gets": "+", "gives": "-", "loses": "-", "sells": "-",
    "doubles": "*", "triples": "*",
}  # fmt: skip
APPLES = Story(
    "Mia", "She", "apples", 12,
    (
        Change("+", 5, "buys 5 more"),
        Change("-", 3, "gives 3 to Ben"),
        Change("/", 2, "gives half of them to Ben"),
    ),
)  # fmt: skip


def solved_by_hand(question: str) -> int:
    """Reads the sentences of a problem, not its data."""
    first, *others = question.split(". ")
    amount = int(re.findall(r"\d+", first)[0])
    for sentence in others[:-1]:
        verb = next(word for word in sentence.split() if word in TOLD)
        number = re.findall(r"\d+", sentence)
        if "half" in sentence:
            assert amount % 2 == 0
            amount //= 2
        elif TOLD[verb] == "*":
            amount *= {"doubles": 2, "triples": 3}[verb]
        else:
            amount += int(number[0]) if TOLD[verb] == "+" else -int(number[0])
    return amount


def test_the_answer_is_what_the_sentences_say() -> None:
    for index in range(300):
        told = story(index, "train", (1, 6), 99)
        assert str(solved_by_hand(told.question)) == told.answer, told.question


def test_a_known_problem_and_its_solutions() -> None:
    assert APPLES.question == (
        "Mia has 12 apples. She buys 5 more. Then she gives 3 to Ben. Then she gives half of them "
        "to Ben. How many apples does Mia have in the end?"
    )
    texts = [
        "Mia starts with 12 apples. Then 12 + 5 = 17. Then 17 - 3 = 14. Then 14 / 2 = 7. "
        "The answer is \\boxed{7}.",
        "Here is a list.\nstart: 12\n+ 5: 17\n- 3: 14\n/ 2: 7\nThe answer is \\boxed{7}.",
        "Here is one expression.\n((12 + 5) - 3) / 2\n(17 - 3) / 2\n14 / 2\n= 7\n"
        "The answer is \\boxed{7}.",
    ]
    assert [write(APPLES, False) for write in STRATEGIES] == texts


def test_every_solution_is_graded_as_right_and_long_ones_are_longer() -> None:
    grader, rng = MathGrader(box="last"), random.Random(0)
    pairs, lengths = [], {True: 0, False: 0}
    for index in range(60):
        told = story(index, "train", (2, 4), 40)
        for long in (False, True):
            text = solution(told, rng, len(STRATEGIES), long)
            pairs.append((text, told.answer))
            lengths[long] += len(text)
    assert all(grade.correct for grade in grader.grade(pairs))
    assert lengths[True] > 1.3 * lengths[False]
    grader.close()


def test_expressions_have_the_value_of_the_answer() -> None:
    for index in range(100):
        told = story(index, "train", (2, 4), 40)
        for line in STRATEGIES[2](told, False).splitlines()[1:-2]:
            assert re.fullmatch(r"[\d+*/() -]+", line)
            assert eval(line) == int(told.answer)


def test_strategies_are_used_alike() -> None:
    told, rng = story(0, "train", (2, 4), 40), random.Random(0)
    starts = [solution(told, rng, 3).split()[2] for _ in range(300)]
    assert all(80 < starts.count(word) < 120 for word in ("with", "a", "one"))
    assert {solution(told, rng, 1) for _ in range(20)} == {STRATEGIES[0](told, False)}


def test_no_amount_exceeds_the_largest_and_none_is_below_one() -> None:
    for index in range(300):
        told = story(index, "held_out", (4, 6), 20)
        assert all(0 < amount <= 20 for amount in told.amounts)
        assert 4 <= len(told.changes) <= 6


def test_word_problems_of_one_split_are_not_in_the_other() -> None:
    # With one change there are few problems, so a wrong split would share many.
    train = {story(i, "train", (1, 1), 12).question for i in range(3000)}
    held_out = {story(i, "held_out", (1, 1), 12).question for i in range(300)}
    assert train and held_out and not train & held_out


def test_word_prompts_are_new_at_each_step_and_the_same_for_one_seed() -> None:
    def task(seed: int) -> WordsTask:
        chat = Chat(lab_tokenizer())
        return WordsTask((2, 4), 40, "{problem} Box it.", chat, chat, seed)

    first, again, other = task(1), task(1), task(2)
    asked = [each.text for step in range(20) for each in first.train(step, 8)]
    assert asked == [each.text for step in range(20) for each in again.train(step, 8)]
    assert len(set(asked)) > 150
    assert not set(asked) & {each.text for step in range(20) for each in other.train(step, 8)}
    assert all(text.rstrip().endswith("Box it.") or "Box it." in text for text in asked)


def test_the_benchmark_takes_the_settings_of_the_task() -> None:
    config = read(
        "task=words", "benchmark=words", "+rollout_len=8", "task.words.changes=[1,2]",
        "task.words.largest=20",
    )  # fmt: skip
    words = config.benchmark["words"]
    assert (words.words.changes, words.words.largest) == ([1, 2], 20)
    questions = catalog.load("words", words, data_dir=None).questions
    assert len(questions) == words.problems
    assert all("\\boxed{}" in each.messages[0]["content"] for each in questions)
    alone = read("benchmark=words", "model=esr:student", command="eval", schema=EvalConfig)
    assert alone.benchmark["words"].words == WordsConfig()


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ({"changes": [2]}, "changes"), ({"changes": [4, 2]}, "changes"),
        ({"changes": [0, 2]}, "changes"), ({"changes": [2, 7]}, "changes"),
        ({"largest": 9}, "largest"), ({"largest": 1000}, "largest"),
    ],
)  # fmt: skip
def test_impossible_word_problems_are_refused(words: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"benchmark.*words\.{key}"):
        BenchmarkConfig(kind="words", words=WordsConfig(**words))
