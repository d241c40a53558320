"""Training on custom prompts from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import INLINE, SHORT, same_end
from training_data import settings, write

from esr_cli.config import ConfigError
from esr_cli.train import command as train


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("ESR_DATA", raising=False)


def test_a_resumed_run_on_custom_prompts_equals_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = "Q : start 3 ; a + 2 ; b * 5 ; find b ?"
    write(tmp_path / "my.jsonl", [{"prompt": chain.replace("3", str(i))} for i in range(7)])
    mine = [
        "task=jsonl", "task.files=[my.jsonl]", *INLINE, "tune.schedule=constant",
        "eval_every=2", "benchmark.lab.max_tokens=16", *SHORT[1:],
    ]  # fmt: skip

    def run(*overrides):
        train.run(settings(*mine, *overrides), [*mine, *overrides])

    run("steps=4", "run_dir=whole")
    run("steps=2", "run_dir=parts")
    run("steps=4", "resume=parts")
    same_end(Path("whole"), Path("parts"))
    report = "jsonl: 7 rows, 0 duplicates, 0 too long; 7 prompts; no benchmark in data_dir"
    assert report in Path("whole/esr.log").read_text()
    with pytest.raises(ConfigError, match=r"prompts_per_step=8: the task has 7 prompts"):
        run("prompts_per_step=8")
