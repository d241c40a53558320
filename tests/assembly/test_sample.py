"""A sample of the rows of training data: how it is drawn, counted and refused."""

from __future__ import annotations

import random

import pytest
from training_data import load, settings, write

from esr_cli.config import ConfigError


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("ESR_DATA", raising=False)


SAMPLE = ["task.sample.rows=4", "task.sample.seed=42"]


def test_a_sample_is_that_of_python_s_random(tmp_path):
    """As `random.seed(42); random.sample(rows, 4)` on all rows read, before any filter."""
    asked = [{"prompt": f"row {i}"} for i in range(30)]
    write(tmp_path / "a.jsonl", asked[:10])
    write(tmp_path / "b.jsonl", [*asked[10:], {"prompt": "beyond"}])

    def drawn(*overrides):
        task = load(tmp_path, *overrides, files=["a.jsonl", "b.jsonl"])
        return task.report.partition(",")[0], [q.messages[0]["content"] for q in task.questions]

    random.seed(42)
    expected = {row["prompt"] for row in random.sample(asked, 4)}
    report, found = drawn(*SAMPLE, "task.rows=30")
    assert report == "jsonl: 4 of 30 rows sampled (seed 42)" and set(found) == expected
    # Neither the run's seed nor a filter changes the draw; the sample's own seed does.
    assert drawn(*SAMPLE, "task.rows=30", "seed=7")[1] == found
    assert drawn(*SAMPLE, "task.rows=30", "task.max_prompt_tokens=5")[1] == [
        text for text in found if len(text) <= 5
    ]
    assert set(drawn("task.rows=30", "task.sample.rows=4")[1]) != expected
    assert len(drawn("task.sample.rows=31")[1]) == 31 == len(drawn()[1])


def test_a_sample_counts_its_own_duplicates(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "same"}] * 1500)
    assert load(tmp_path, "task.sample.rows=1200").report == (
        "jsonl: 1,200 of 1,500 rows sampled (seed 0), 1,199 duplicates, 0 too long; 1 prompt; "
        "no benchmark in data_dir to compare with"
    )


def test_a_sample_of_more_rows_than_there_are_is_refused(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    with pytest.raises(ConfigError, match=r"task.sample.rows=4: task=jsonl has 2 rows; lower it"):
        load(tmp_path, *SAMPLE)
    with pytest.raises(ConfigError, match=r"task.sample.rows=4: task.rows=3 reads fewer"):
        settings(*SAMPLE, "task=jsonl", "task.rows=3")
    with pytest.raises(ConfigError, match=r"task.sample.rows=4: task=lab makes its problems"):
        settings(*SAMPLE)
