"""Training tasks: benchmark overlap, the order of prompts, and the wording."""

from __future__ import annotations

import pytest
from training_data import WORDS, chat, settings

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError
from esr_cli.tasks import filters, words
from esr_cli.tasks.training import DataTask, Manner
from esr_cli.tasks.wording import worded
from esr_cli.tasks.words import WordsTask
from esr_cli.types import Question


def test_overlap_needs_thirteen_consecutive_words():
    overlap = filters.Overlap(13)
    overlap.learn("bench", " ".join(WORDS))
    assert overlap.find(f"So: {', '.join(WORDS[1:14])}?") == "bench"
    assert overlap.find(f"So: {' '.join(WORDS[1:13])} tomorrow") is None
    assert overlap.find(" ".join([*WORDS[:7], "red", *WORDS[7:]])) is None
    # A question with fewer words only matches as a whole.
    overlap.learn("short", "Compute $\\sin 60^\\circ$.")
    assert overlap.find("compute \\sin 60 ^ \\circ") == "short"
    assert overlap.find("Compute \\sin 60^\\circ + 1") is None
    overlap.learn("signs", "???")
    assert overlap.find("!") is None


def data_task(count, seed=0, backwards=False):
    questions = [Question(str(i), ({"role": "user", "content": "?"},), None) for i in range(count)]
    return DataTask(questions[::-1] if backwards else questions, Manner(chat(), chat()), seed)


def ids(task, step, count):
    return [each.id for each in task.train(step, count)]


def test_every_question_comes_once_an_epoch_and_epochs_differ():
    task = data_task(10)
    served = [name for step in range(10) for name in ids(task, step, 3)]
    epochs = [served[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(map(str, range(10))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_follows_from_seed_step_and_count_alone():
    order = [ids(data_task(10), step, 3) for step in range(10)]
    resumed = data_task(10)
    assert [ids(resumed, step, 3) for step in (9, 4, 3)] == [order[9], order[4], order[3]]
    assert [ids(data_task(10, backwards=True), step, 3) for step in range(10)] == order
    assert [ids(data_task(10, seed=1), step, 3) for step in range(10)] != order


def test_removing_a_row_does_not_reorder_the_others():
    whole, fewer = ids(data_task(10), 0, 10), ids(data_task(9), 0, 9)
    assert fewer == [name for name in whole if name != "9"]


def test_a_step_with_too_many_prompts_is_refused():
    with pytest.raises(ConfigError, match=r"prompts_per_step=4: the task has 3 prompts; lower"):
        data_task(3).train(0, 4)


def test_the_wording_applies_to_the_last_user_turn():
    turns = tuple(
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c{}"), ("tool", "d"))
    )
    found = worded(Question("q", turns, None), "<{problem}>")
    assert [turn["content"] for turn in found.messages] == ["a", "b", "<c{}>", "d"]


@pytest.mark.parametrize("path", sorted((conf_dir() / "task").glob("*.yaml")), ids=str)
def test_every_task_composes(path):
    config = settings(f"task={path.stem}")
    assert config.task.name == "lab" or config.task.ngram == 13


def test_a_prompt_leads_to_its_reference_answer():
    rows = [Question(name, ({"role": "user", "content": "?"},), answer)
            for name, answer in (("a", "7"), ("b", None))]  # fmt: skip
    task = DataTask(rows, Manner(chat(), chat()), seed=1)
    assert {each.id: task.reference(each.id) for each in task.train(3, 2)} == {"a": "7", "b": None}
    made = WordsTask((2, 4), 40, "{problem} Box it.", chat(), chat(), seed=2)
    [first] = made.train(5, 1)
    asked = words.question(2 * 10_000_000 + 5, "train", (2, 4), 40, "{problem} Box it.")
    assert first.id == asked.id and made.reference(first.id) == asked.reference
