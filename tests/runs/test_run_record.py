"""Run folders read from plain files: state, added evaluations, and metrics by name."""

from __future__ import annotations

from run_folders import write_run

from esr_cli.base.files import read_rows, write_rows
from esr_cli.config import gate
from esr_cli.runs import record

RIGHT = {0: [[0, 1]] * 8, 2: [[1, 1]] * 8}


def test_a_failed_run_that_was_resumed_is_unfinished(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT, state="unfinished")
    first = ["run folder: x", "starting the engine", "failed: out of memory"]

    def state(*messages: str) -> str:
        (run / "esr.log").write_text("".join(f"2026-01-01 10:00:00 {each}\n" for each in messages))
        return record.read(run).state

    assert state(*first, *["warning: late"] * 9) == "failed"
    assert state(*first, "run folder: x", "step 2: lab failed: no") == "unfinished"


def add_evaluation(run, **changed) -> None:
    """Adds an evaluation at another step, in the folder that `esr eval run=` writes."""
    place = run / "eval" / "more"
    place.mkdir(parents=True, exist_ok=True)
    saved = gate.read_yaml(run / "config.yaml")
    gate.write_yaml({"limit": saved["limit"], "benchmark": saved["benchmark"]} | changed,
                    place / "config.yaml")  # fmt: skip
    row = {"metric": "avg@2", "value": 0.5, "low": 0.4, "high": 0.6}
    write_rows(
        place / "eval.jsonl", [{"step": 5, "benchmark": each, **row} for each in ("lab", "gsm8k")]
    )


def test_an_added_evaluation_counts_if_its_settings_match_the_run_s(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    add_evaluation(run)
    assert record.read(run).steps("lab") == [0, 2, 5] and record.read(run).steps("gsm8k") == [5]
    add_evaluation(run, limit=10)
    assert record.read(run).steps("lab") == [0, 2] and not record.read(run).steps("gsm8k")
    add_evaluation(run, benchmark={"lab": {"samples": 1}})
    assert record.read(run).steps("lab") == [0, 2]


def test_at_selects_the_largest_k_of_the_same_metric(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    more = {"step": 2, "benchmark": "lab", "value": 0.5, "low": 0.4, "high": 0.6}
    names = ("pass@2", "pass@16", "pass@4", "first_boxed@4", "not_avg@9")
    rows = [*read_rows(run / "eval.jsonl"), *({**more, "metric": name} for name in names)]
    write_rows(run / "eval.jsonl", rows)
    rows_of = {
        name: record.read(run).row("lab", name, 2) for name in ("pass@", "first_boxed@", "avg@")
    }
    assert [row["metric"] for row in rows_of.values()] == ["pass@16", "first_boxed@4", "avg@2"]
