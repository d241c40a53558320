"""The scripts that fill docs/results, on known runs: `summarize_runs`, `summarize_mixture`, …"""

from __future__ import annotations

import argparse
import runpy

import pytest
import results
from conftest import ROOT
from run_folders import write_run

from esr_cli.base.files import read_json, read_rows, write_json, write_rows
from esr_cli.report.book import open_book

RUNS, MIXTURE, FORGETTING, PROBES, REPRODUCTION, REAL = (
    runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))
    for name in (
        "summarize_runs", "summarize_mixture", "summarize_forgetting", "summarize_probes",
        "record_reproduction", "summarize_real",
    )
)  # fmt: skip


def test_a_condition_of_runs_has_the_values_of_its_seeds(tmp_path):
    for seed, last in ((0, [[1], [0]]), (1, [[1], [1]])):
        run = write_run(tmp_path / str(seed), f"seed={seed}", "+rollout_len=16", seconds=2 + seed,
                        right={0: [[0], [1]], 3: last})  # fmt: skip
        rows = read_rows(run / "metrics.jsonl")
        write_rows(run / "metrics.jsonl", [{**row, "rollout/logprob_gap_max": (seed + 1) * 2e-5}
                                           for row in rows])  # fmt: skip
    write_run(tmp_path / "begun", "+rollout_len=8", right={0: [[1]]}, state="unfinished")
    write_run(tmp_path / "timed", "+rollout_len=16", "limit=1", right={0: [[1]], 3: [[1]]})
    found = RUNS["conditions"](open_book(tmp_path))
    assert list(found) == ["lab: ESR N=16", "lab: ESR N=16, timed"]
    figures = found["lab: ESR N=16"]
    assert (figures["before"], figures["last"]) == ([50.0, 50.0], [50.0, 100.0])
    assert figures["seconds"]["step"] == 2.5 and figures["gap"] == 4e-5
    assert found["lab: ESR N=16, timed"]["last"] == [None]
    [table] = RUNS["tables"]({"conditions": found})
    seconds = "0.62 / 0.62 / 0.62 / 0.62 / 2.50"
    row = f"| lab: ESR N=16 | seed 0, seed 1 | 50, 50 | 50, 100 | {seconds} | 4e-05 |"
    assert row in table and "compared" not in table


def write_population(out, **lasts):
    """A reproduction with a run of each student that has a verdict for a condition."""
    lengths = {"esr": "32", "full": "full", "n_4": "4", "n_8": "8"}
    for name, given in lasts.items():
        length = f"+rollout_len={lengths.get(name, 9)}"
        for student, last in given.items():
            write_run(
                out / "runs" / name / f"student_{student:02d}", length, "pair.population=students",
                f"pair.student.path=/x/student_{student:02d}", right={0: [[0]] * 4, 2: last},
            )  # fmt: skip
    (out / "cells").mkdir()
    write_json(out / "cells" / "full,student_02.json", {"state": "complete", "seconds": 3.5})
    write_json(out / "cells" / "slip_students.json", {"state": "complete", "seconds": 7.0})
    asked = {"scale": "mixture", "overrides": [], "command": "esr reproduce x=1", "cells": 3}
    write_json(out / "reproduction.json", asked)


NONE, HALF, ALL = [[0]] * 4, [[1], [0]] * 2, [[1]] * 4


def test_a_mixture_is_compared_by_student_and_without_those_that_lack_a_run(tmp_path):
    write_population(tmp_path, esr={2: NONE, 3: NONE, 4: NONE}, full={3: ALL, 4: HALF},
                     mixture={2: HALF, 3: NONE, 4: ALL})  # fmt: skip
    complete = MIXTURE["conditions"](tmp_path)
    figures = MIXTURE["summary"]("mixture", complete)
    gap = figures["minus esr"]
    assert gap["each"] == {"student_02": 50.0, "student_03": 0.0, "student_04": 100.0}
    assert figures["last"]["each"] == gap["each"]
    # Of the eight patterns of signs two reach the mean, whatever the sign of the zero: a quarter.
    assert gap["p"] == pytest.approx(0.25)
    assert figures["minus full"]["each"] == {"student_03": -100.0, "student_04": 50.0}
    found = {name: MIXTURE["summary"](name, complete) for name in MIXTURE["in_order"](complete)}
    assert list(found) == ["esr", "full", "mixture"]
    written = {"conditions": found, "front loading": MIXTURE["front"](tmp_path, complete)}
    assert "| mixture | 3 (2 compared) | 0.0 | 50.0" in MIXTURE["tables"](written)[0]
    # Student 4 of the seeds 2 to 5, whose outcome was known before, is the last of all here.
    assert "without 2 to 5" not in gap and found["esr"]["lose"] == 0
    assert found["esr"]["minus mixture"]["value"] == -50


def test_a_reproduction_is_recorded_with_its_verdicts_and_every_student(tmp_path):
    write_population(tmp_path, esr={2: NONE, 3: HALF, 4: ALL}, full={2: ALL, 3: ALL, 4: ALL})
    # Without its responses nothing is known of the questions of the first.
    (tmp_path / "runs/esr/student_02/generations.jsonl").unlink()
    written = REPRODUCTION["figures"](open_book(tmp_path))
    esr = written["conditions"]["lab: ESR N=32"]
    assert esr["units"] == 3
    assert esr["last"]["each"] == {"student_03": 50.0, "student_04": 100.0}
    short = {2: NONE}
    write_population(tmp_path / "more", n_4=short, n_8=short, esr=short, full=short)
    swept = REPRODUCTION["figures"](open_book(tmp_path / "more"))
    sweep = REPRODUCTION["tables"](swept)[3].splitlines()
    assert [line.split(" | ")[0] for line in sweep[2:]] == ["| 4", "| 8", "| 32", "| full"]
    counts, claims, verdicts, conditions, students = REPRODUCTION["tables"](written)
    assert claims.splitlines()[2].endswith("| cannot be tested here (1) |")
    assert counts.startswith("| shows | does not show |")
    assert verdicts.count("\n") == len(written["verdicts"]) + 1
    assert "| lab: full rollouts | 3 students | 0.0 " in conditions
    assert "| lab: ESR N=32 | student_03 50, student_04 100 |" in students


ASKED = "Q : start 6 ; a + 5 ; b * 3 ; c - 2 ; find c ?"
CAREFUL = "plan : careful , one by one . \n a : 6 + 5 = 4 ; b : 4 * 3 = 5 ; c : 5 - 2 = 3 ; \n so"


@pytest.mark.parametrize(("old", "new", "number"), [
    ("", "", None), ("= 4", "= 5", 1), ("5 - 2 = 3", "5 - 2 = 2", 3), ("b : 4 * 3", "b : 4 + 3", 2),
    ("b : 4", "b : 3", 2), ("b :", "c :", 2), ("c : 5 - 2 = 3 ;", "", 3),
])  # fmt: skip
def test_the_first_wrong_operation_is_found(old, new, number):
    assert FORGETTING["first_error"](ASKED, CAREFUL.replace(old, new, 1)) == number


def test_an_operation_is_right_if_it_goes_on_from_what_was_stated():
    response = CAREFUL.replace(
        "= 4 ; b : 4 * 3 = 5 ; c : 5 - 2 = 3", "= 4 ; b : 4 * 3 = 6 ; c : 6 - 2 = 4"
    )
    assert FORGETTING["first_error"](ASKED, response) == 2


def test_responses_are_counted_by_where_they_go_wrong():
    quick = "plan : quick , three at once . \n a : 6 + 5 = 4"
    rows = [
        {"prompt": ASKED, "responses": [CAREFUL, quick], "correct": [True, False]},
        {"prompt": ASKED, "responses": [CAREFUL, CAREFUL.replace("= 3", "= 2")],
         "correct": [False, False]},
    ]  # fmt: skip
    counts = FORGETTING["of_student"](rows)
    expected = {"responses": 4, "careful": 3, "right": 1, "c or d": 1, "answer": 1}
    assert {name: count for name, count in counts.items() if count} == expected


def test_figures_of_probes_are_named_by_what_tells_them_apart(tmp_path):
    rows = [
        {"figure": "mass", "who": "before", "at": 3, "value": 1.0},
        {"figure": "suggested", "who": "before", "share": 0.45, "value": 38, "low": 37, "high": 39},
    ]
    write_rows(tmp_path / "profile.jsonl", rows)
    write_rows(tmp_path / "decay.jsonl", rows)
    found = PROBES["figures"](tmp_path)
    assert found["profile"] == {"suggested before": [38, 37, 39]}
    assert list(found["decay"]) == ["mass before 3", "suggested before"]


def test_only_what_ran_to_its_end_is_recorded(tmp_path, capsys):
    write_population(tmp_path, esr={2: NONE})
    parser = argparse.ArgumentParser()
    found = results.finished(parser, tmp_path, whole=False)
    assert found["command"] == "esr reproduce x=1"
    assert MIXTURE["_by_kind"](found["seconds"]) == {"all others": 3.5, "slip_students": 7.0}
    (tmp_path / "empty").mkdir()
    for refused in (
        lambda: results.finished(parser, tmp_path, whole=True),
        lambda: results.finished(parser, tmp_path / "empty", whole=False),
        lambda: results.book_of(parser, tmp_path / "nowhere"),
        lambda: results.book_of(parser, tmp_path / "empty"),
    ):
        with pytest.raises(SystemExit):
            refused()
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert "2 of 3 cells are complete" in lines[0] and len(lines) == 4


def test_a_file_of_results_reads_as_it_was_written(tmp_path):
    written = {"command": "esr x", "none": {}, "a": {"b": {"c": [1.5, None]}}, "rows": [{"d": 1}]}
    results.write(tmp_path / "new" / "file.json", written)
    assert read_json(tmp_path / "new" / "file.json") == written


def test_the_real_pair_has_a_line_for_each_n_and_full_rollouts_last(tmp_path):
    lengths = {"full": "full", "esr_8": "8", "esr_16": "16", "mixture": "9"}
    for name, length in lengths.items():
        for seed, last in ((0, ALL), (1, HALF if name == "esr_8" else ALL)):
            run = write_run(
                tmp_path / "runs" / name / f"seed={seed}", f"+rollout_len={length}",
                f"seed={seed}", right={0: NONE, 2: last}, benchmark="words",
            )  # fmt: skip
            if (name, seed) == ("esr_8", 1):
                rows = [{"step": at, "responses": 16, "ended": float(at == 0), "repeats": 0.0}
                        for at in (0, 10, 20)]  # fmt: skip
                write_rows(run / "watch.jsonl", rows)
    found = REAL["figures"](tmp_path, {"seconds": {}}, open_book(tmp_path))["conditions"]
    assert list(found) == ["esr_8", "esr_16", "full", "mixture"]
    assert found["esr_8"]["last"]["value"] == 75.0 and found["esr_8"]["before"]["value"] == 0.0
    assert found["esr_8"]["minus full"]["value"] == -25.0
    assert found["full"]["minus full"] is None
    assert [each["alarms"] for each in found.values()] == [1, 0, 0, 0]
    [table] = REAL["tables"]({"conditions": found})
    assert "| esr_8 | 2 | 0.0" in table and table.count("\n") == 5
