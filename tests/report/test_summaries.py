"""`scripts/summarize_runs.py` and the tables of `scripts/summarize_mixture.py`, on known runs."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT
from run_folders import write_run

from esr_cli.base.files import read_rows, write_json, write_rows

RUNS, MIXTURE, REPRODUCTION = (
    runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))
    for name in ("summarize_runs", "summarize_mixture", "record_reproduction")
)


def test_a_condition_of_runs_has_the_values_of_its_seeds(tmp_path):
    for seed, last in ((0, [[1], [0]]), (1, [[1], [1]])):
        run = write_run(tmp_path / str(seed), f"seed={seed}", "+rollout_len=16", seconds=2 + seed,
                        right={0: [[0], [1]], 3: last})  # fmt: skip
        rows = read_rows(run / "metrics.jsonl")
        write_rows(run / "metrics.jsonl", [{**row, "rollout/logprob_gap_max": (seed + 1) * 2e-5}
                                           for row in rows])  # fmt: skip
    write_run(tmp_path / "begun", "+rollout_len=8", right={0: [[1]]}, state="unfinished")
    found = RUNS["conditions"](tmp_path)
    assert list(found) == ["lab: ESR N=16"]
    figures = found["lab: ESR N=16"]
    assert (figures["before"], figures["last"]) == ([50.0, 50.0], [50.0, 100.0])
    assert figures["seconds"]["step"] == 2.5 and figures["gap"] == 4e-5
    [table] = RUNS["tables"]({"conditions": found})
    row = "| lab: ESR N=16 | 0, 1 | 50, 50 | 50, 100 | 0.62 / 0.62 / 0.62 / 0.62 / 2.50 | 4e-05 |"
    assert row in table and "compared" not in table


def test_a_mixture_is_compared_by_student_and_without_those_that_lack_a_run(tmp_path):
    for name, lasts in (("esr", [0, 0, 0]), ("full", [1, 1]), ("mixture", [1, 0, 1])):
        given = {"esr": "+rollout_len=8", "full": "+rollout_len=full"}.get(name, "+rollout_len=9")
        for student, last in enumerate(lasts):
            write_run(
                tmp_path / "runs" / name / f"student_{student}", given, "pair.population=students",
                f"pair.student.path=/x/student_{student}", right={0: [[0]] * 4, 2: [[last]] * 4},
            )  # fmt: skip
    complete = MIXTURE["conditions"](tmp_path)
    figures = MIXTURE["summary"]("mixture", complete)
    gap = figures["minus esr"]
    assert gap["students"] == {"student_0": 1.0, "student_1": 0.0, "student_2": 1.0}
    # Of the eight patterns of signs two reach the mean in each place of the zero: a quarter.
    assert gap["p"] == pytest.approx(0.25)
    assert list(figures["minus full"]["students"]) == ["student_0", "student_1"]
    found = {name: MIXTURE["summary"](name, complete) for name in MIXTURE["in_order"](complete)}
    assert list(found) == ["esr", "full", "mixture"]
    written = {"conditions": found, "front loading": MIXTURE["front"](tmp_path, complete)}
    assert "| mixture | 3 (2 compared) | 66.7" in MIXTURE["tables"](written)[0]


def test_a_reproduction_is_recorded_with_its_verdicts_and_every_student(tmp_path):
    for name, given, verdicts in (("esr_32", "+rollout_len=32", [[1], [0]]),
                                  ("full", "+rollout_len=full", [[1], [1]])):  # fmt: skip
        for student in (2, 3):
            write_run(
                tmp_path / "runs" / name / f"student_{student}", given, "pair.population=students",
                f"pair.student.path=/x/student_{student}", right={0: [[0], [0]], 2: verdicts},
            )  # fmt: skip
    write_json(tmp_path / "reproduction.json", {"scale": "lab", "overrides": []})
    (tmp_path / "cells").mkdir()
    write_json(tmp_path / "cells" / "esr_32,seed=0.json", {"state": "complete", "seconds": 3.5})
    written = REPRODUCTION["figures"](tmp_path)
    assert written["seconds"] == {"esr_32,seed=0": 3.5}
    esr = written["conditions"]["lab: ESR N=32"]
    assert esr["units"] == ["student_2", "student_3"] and esr["last"]["each"] == [50.0, 50.0]
    counts, verdicts, conditions, students = REPRODUCTION["tables"](written)
    assert counts.startswith("| shows | does not show |")
    assert verdicts.count("\n") == len(written["verdicts"]) + 1
    assert "| lab: full rollouts | 2 | 0.0 " in conditions
    assert "| lab: ESR N=32 | 50, 50 |" in students
