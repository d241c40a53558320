"""`esr compare` on the command line."""

from __future__ import annotations

import json

import pytest
from conftest import esr

from esr_cli.compare.sides import load
from esr_cli.config import ConfigError


def test_compare_of_the_same_responses_is_within_noise(unbroken, tmp_path):
    evaluated = esr(
        "eval", f"run={unbroken}", "rollout=eager", "execution=inline", "checkpoints=last",
        "benchmark=lab", "limit=4", "benchmark.lab.samples=1", "out=last", cwd=tmp_path,
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    same = esr("compare", f"a={unbroken}", f"b={tmp_path / 'last'}")
    assert same.returncode == 0 and "within noise" in same.stdout, same.stderr
    # Four equal questions leave a wide interval for the others, and the run has one seed.
    assert "not ways of training" in same.stdout and "is better" not in same.stdout
    assert "+0.0 [-49.2, +49.2]" in same.stdout
    none = esr("compare", f"a={unbroken}", f"b={unbroken}", "b_step=7")
    assert none.returncode == 2 and "holds no evaluation at step 7" in none.stderr


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_compare_is_paired_and_warns_of_different_settings(tmp_path):
    for name, right, settings in (("a", 0, "s"), ("b", 1, "t")):
        (tmp_path / name).mkdir()
        generations = [
            {"id": str(i), "step": 0, "benchmark": "m", "correct": [bool(right or i % 2)]}
            for i in range(40 + right)
        ]
        write(tmp_path / name / "generations.jsonl", generations)
        row = {"step": 0, "benchmark": "m", "metric": "avg@1", "settings": settings}
        write(tmp_path / name / "eval.jsonl", [row])
    done = esr("compare", "a=a", "b=b", cwd=tmp_path)
    assert "answers better" in done.stdout and "+50.0" in done.stdout, done.stdout
    assert "1 question answered by only one" in done.stdout, done.stdout
    assert "not comparable" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("generations.jsonl", {"correct": []}, "is not a list of verdicts"),
        ("generations.jsonl", {"correct": [None]}, "is not a list of verdicts"),
        ("generations.jsonl", {"correct": [float("nan")]}, "is not a list of verdicts"),
        ("generations.jsonl", {"correct": [7]}, "is not a list of verdicts"),
        ("generations.jsonl", {"id": None}, "id is missing"),
        ("generations.jsonl", {"step": "0"}, 'step="0" is not a number'),
        ("generations.jsonl", {"benchmark": ["m"]}, "is not a text"),
        ("eval.jsonl", {"step": None}, "step is missing"),
        ("eval.jsonl", {"benchmark": 3}, "is not a text"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_compared_is_named(tmp_path, name, row, reason):
    good = {"id": "q", "step": 0, "benchmark": "m", "correct": [True]}
    write(tmp_path / "generations.jsonl", [good])
    write(tmp_path / "eval.jsonl", [{"step": 0, "benchmark": "m"}])
    assert load("a", str(tmp_path), None)["m"].by_id == {"q": 1.0}
    write(tmp_path / name, [good, good | row])
    with pytest.raises(ConfigError, match=rf"{name} line 2: .*{reason}"):
        load("a", str(tmp_path), None)
