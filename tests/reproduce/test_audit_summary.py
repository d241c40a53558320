"""`scripts/summarize_audit.py`: its figures from runs whose evaluations are known."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest
from conftest import ROOT
from run_folders import write_run

from esr_cli.base.files import append_rows, read_json, write_json

SCRIPT = ROOT / "scripts" / "summarize_audit.py"
HERE = runpy.run_path(str(SCRIPT))
PAIR = "pair=qwen25math_1p5b__qwen3_1p7b"


def write_cell(out, name, seed, *overrides, ended=0.75):
    """A complete run of two questions, two samples each, evaluated at steps 0 and 50."""
    run = write_run(out / "runs" / name / f"seed={seed}", PAIR, "recipe=authors", f"seed={seed}",
                    *overrides, right={0: [[0, 0], [0, 1]], 50: [[1, 1], [0, 1]]},
                    benchmark="math500", length=321.04)  # fmt: skip
    at = {"benchmark": "math500", "step": 50, "low": 0.0, "high": 1.0, "n": 2}
    figures = {"first_boxed@1": 0.25, "first_boxed@2": 0.5, "avg@1": 0.25, "ended": ended}
    append_rows(
        run / "eval.jsonl", [{**at, "metric": name, "value": v} for name, v in figures.items()]
    )
    return run


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Two conditions of scale=paper_audit; in the matrix, N=100 comes before full rollouts."""
    folder = tmp_path_factory.mktemp("audit")
    write_json(folder / "reproduction.json", {"scale": "paper_audit", "overrides": []})
    write_cell(folder, "lora_full", 0, "+rollout_len=full")
    # Full rollouts, with their length given as a number.
    write_cell(folder, "lora_full", 10, "+rollout_len=2048", ended=0.5)
    write_cell(folder, "lora_full", 2, "+rollout_len=full", ended=0.25)
    write_cell(folder, "lora_esr_100", 0, "+rollout_len=100")
    unfinished = write_cell(folder, "lora_esr_100", 1, "+rollout_len=100")
    (unfinished / "summary.json").unlink()
    return folder


def test_figures_are_those_of_the_last_step_and_of_all_samples(out):
    found = HERE["conditions"](out, "paper_audit")
    assert list(found) == ["lora_esr_100", "lora_full"], "the order of the matrix"
    assert found["lora_esr_100"] == {
        "last box": [75.0], "first box": [50.0], "ended": [75.0], "repeats": [0.0],
        "length": [321.0], "several boxes": [0.0], "boxes a response": [1.0],
        "untrained": [25.0], "ends no more from step": [None], "seed": [0], "at 0": [25.0],
        "at 50": [75.0],
    }  # fmt: skip
    assert found["lora_full"]["ended"] == [75.0, 25.0, 50.0]
    assert found["lora_full"]["seed"] == [0, 2, 10]


def test_boxes_are_counted_in_the_responses_of_the_last_step(tmp_path):
    run = write_cell(tmp_path, "lora_full", 0, "+rollout_len=full")
    rows = (run / "generations.jsonl").read_text().splitlines()
    rows[-1] = rows[-1].replace('"\\\\boxed{1}"', '"\\\\boxed{1} \\\\boxed{2} \\\\boxed{2}"', 1)
    (run / "generations.jsonl").write_text("\n".join(rows) + "\n")
    figures = HERE["summary"](run)
    assert figures["boxes a response"] == 1.5 and figures["several boxes"] == 25.0


def test_only_full_rollouts_can_stop_ending(out):
    rows = [{"step": step, "rollout/eos_rate": rate}
            for step, rate in enumerate((0.9, 0.1, 0.6, 0.4, 0.0), start=1)]  # fmt: skip
    assert HERE["stopped"](rows) == 4 and HERE["stopped"](rows[:3]) is None
    for seed, length in ((0, "full"), (10, "2048")):
        run = out / "runs" / "lora_full" / f"seed={seed}"
        kept = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").write_text(
            kept.replace('"rollout/eos_rate": 1.0', '"rollout/eos_rate": 0.0')
        )
        assert HERE["summary"](run)["ends no more from step"] == 1, length
        (run / "metrics.jsonl").write_text(kept)


def test_the_table_is_printed_and_recorded(out, tmp_path):
    command = [sys.executable, SCRIPT, out, "--record", tmp_path / "audit.json"]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "| lora_full | 75, 75, 75 | 50, 50, 50 | 75, 25, 50 |" in done.stdout
    assert "| condition | at 0 | at 50 |" in done.stdout
    assert "| lora_full | 25, 25, 25 | 75, 75, 75 |" in done.stdout
    written = read_json(tmp_path / "audit.json")
    assert written["conditions"] == HERE["conditions"](out, "paper_audit")
    assert "scale=paper_audit" in written["command"]
