"""Truncated, empty and invalid files do not keep the rest out of the report."""

from __future__ import annotations

import json
import os
import shutil
from urllib.parse import unquote

import pytest
from run_folders import write_probe, write_run
from test_report_page import Page

from esr_cli.base.files import read_rows, write_rows
from esr_cli.config import ConfigError, ReportConfig, gate
from esr_cli.report import command as report
from esr_cli.report.book import open_book
from esr_cli.report.drawings import inline
from esr_cli.runs import record

RIGHT = {0: [[0, 1]] * 8, 2: [[1, 1]] * 8}


def written(folder) -> str:
    report.run(ReportConfig(runs=str(folder)), [])
    return (folder / "report.html").read_text() + (folder / "report.md").read_text()


def test_any_path_can_be_linked(tmp_path):
    top = tmp_path / "a folder (old) <1> & more"
    top.mkdir()
    run = write_run(top / "n = 32", "+rollout_len=32", right=RIGHT)
    (run / "samples.jsonl").write_text("")
    write_probe(run / "probes", "samples", [
        {"id": "q0", "who": "before", "prompt": "p", "tokens": ["a"], "kl": [0.1], "correct": True,
         "reason": ""}
    ])  # fmt: skip
    written(top)
    links = [a["href"] for tag, a in Page((top / "report.html").read_text()).elements if tag == "a"]
    lead = [unquote(link) for link in links if not link.startswith("#")]
    assert len(lead) == 3 and all((top / link).is_file() for link in lead)
    assert "(<n = 32/config.yaml>)" in (top / "report.md").read_text()
    assert "(<figures/probe-0/samples.html>)" in (top / "report.md").read_text()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [("", "no settings"), ("[1, 2]", "no settings"), ("a: [", ""), ("seed: 1", "lacks"),
     ("pair: null", "")],
)  # fmt: skip
def test_an_unreadable_folder_is_listed_and_the_rest_is_reported(tmp_path, settings, reason):
    write_run(tmp_path / "good", "+rollout_len=32", right=RIGHT)
    write_run(tmp_path / "bad", "+rollout_len=32", right=RIGHT)
    (tmp_path / "bad" / "config.yaml").write_text(settings)
    text = written(tmp_path)
    assert "unreadable" in text and reason in text and "1 unreadable" in text
    (tmp_path / "good" / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError):
        written(tmp_path)


def test_a_pipe_a_bomb_or_a_huge_line_costs_only_its_folder(tmp_path, capsys):
    write_run(tmp_path / "good", "+rollout_len=32", right=RIGHT)
    for name in ("pipe", "bomb", "line", "link"):
        shutil.copytree(tmp_path / "good", tmp_path / name)
    (tmp_path / "pipe" / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "pipe" / "metrics.jsonl")
    (tmp_path / "bomb" / "config.yaml").write_text("a: &a [x]\nb: [*a, *a]\n")
    with (tmp_path / "line" / "generations.jsonl").open("ab") as file:
        file.truncate(1 << 40)
    (tmp_path / "link" / "eval.jsonl").unlink()
    (tmp_path / "link" / "eval.jsonl").symlink_to("/dev/zero")
    assert "4 unreadable" in written(tmp_path)
    output = capsys.readouterr().out
    for reason in ("not a file", "an alias", "a line of more than 32 MiB", "a pipe, socket or dev"):
        assert reason in output, reason


def test_figures_without_bounds_do_not_keep_the_report_from_others(tmp_path):
    for n in (32, "full"):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT, length=3.0)
    for name, key, value in (("eval.jsonl", "high", 1e14), ("metrics.jsonl", "time/step_s", 0)):
        rows = read_rows(tmp_path / "n32" / name)
        write_rows(tmp_path / "n32" / name, [row | {key: value} for row in rows])
    written(tmp_path)


def test_invalid_settings_of_an_evaluation_or_a_probe_are_ignored(tmp_path):
    write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    for name, text in (("one", "- a\n- b"), ("two", "model: ["), ("three", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eval.jsonl").write_text("")
        (tmp_path / name / "config.yaml").write_text(text)
    write_probe(tmp_path / "lab" / "probes-x", "decay", [{"figure": "drop", "value": 0.1}])
    (tmp_path / "lab" / "probes-x" / "decay.yaml").write_text("pair: [")
    written(tmp_path)


@pytest.mark.parametrize("half", ["", "<svg", "<svg/>", "<svg viewBox='0 0'/>", "<html><p>"])
def test_a_truncated_drawing_is_refused(tmp_path, half):
    (tmp_path / "decay.svg").write_text(half)
    with pytest.raises((SyntaxError, ValueError, IndexError)):
        inline(tmp_path / "decay.svg", "a", "b")


def test_a_probe_without_the_rows_of_its_figure_has_none(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    before = written(tmp_path).count("<svg")
    write_probe(run / "probes", "decay", [{"figure": "drop", "value": 0.1}])
    assert written(tmp_path).count("<svg") == before


def test_incomplete_rows_are_ignored(tmp_path):
    for n in (32, "full"):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT)
    run = tmp_path / "n32"
    write_rows(run / "metrics.jsonl", [])
    write_rows(run / "environment.jsonl", [{"step": 0}, {"step": 1, "machine": None}])
    with (run / "eval.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "benchmark": "lab", "metric": "avg@2", "value": null}\n')
        file.write(
            b'{"step": 1, "benchmark": "lab", "metric": "avg@2", "value": 0.5, "low": null}\n'
        )
        file.write(b'[1]\n7\n{"note": "\xff\xfe"}\n')
    with (run / "generations.jsonl").open("ab") as file:
        file.write(b'\xff\n[]\n{"benchmark": "lab", "step": 2}\n')
    write_rows(tmp_path / "nfull" / "metrics.jsonl", [
        {"step": 1, "time/step_s": None, "memory/peak_gib": None, "rollout/tokens": None}
    ])  # fmt: skip
    write_probe(run / "probes", "commitment", [{"value": 1.0}, {"who": "teacher"}])
    write_probe(run / "probes", "decay", [{"figure": "accuracy", "who": "teacher", "value": 0.5}])
    assert read_rows(run / "eval.jsonl")[-1]["note"] == "\ufffd\ufffd"
    written(tmp_path)
    (group,) = open_book(tmp_path).groups
    assert [condition.done[0].steps("lab") for condition in group.conditions] == [[0, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("metrics.jsonl", {"step": 9, "time/step_s": "fast"}, 'time/step_s="fast" is not a number'),
        ("metrics.jsonl", {"step": 9, "memory/peak_gib": [1]}, "peak_gib=[1] is not a number"),
        ("eval.jsonl", {"value": "0.5"}, 'value="0.5" is not a number'),
        ("eval.jsonl", {"value": True}, "value=true is not a number"),
        ("eval.jsonl", {"value": 0.5, "high": {}}, "high={} is not a number"),
        ("eval.jsonl", {"step": "9", "value": 0.5}, 'step="9" is not a number'),
        ("eval.jsonl", {"metric": 4, "value": 0.5}, "metric=4 is not a text"),
        ("generations.jsonl", {"id": "q", "correct": 1}, "correct=1 is not a list of verdicts"),
        ("generations.jsonl", {"id": [1], "correct": [1]}, "id=[1] is not a text or a number"),
        ("generations.jsonl", {"id": "q", "responses": [1]}, "responses=[1] is not a list"),
        ("probes/decay.jsonl", {"figure": "drop", "value": "x"}, 'value="x" is not a number'),
        ("eval/more/eval.jsonl", {"value": "0.5"}, "more/eval.jsonl line 1: "),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_reported_with_file_and_line(
    tmp_path, capsys, name, row, reason
):
    write_run(tmp_path / "good", "+rollout_len=32", right=RIGHT)
    run = write_run(tmp_path / "bad", "+rollout_len=full", right=RIGHT)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    common = {"step": 2, "benchmark": "lab", "metric": "avg@2"} if "eval" in name else {}
    with (run / name).open("a") as file:
        file.write(json.dumps({**common, **row}) + "\n")
    lines = len((run / name).read_text().splitlines())
    assert "1 unreadable" in written(tmp_path)
    output = capsys.readouterr().out.splitlines()
    [line] = [each for each in output if "unreadable (" in each]
    assert line.startswith(f"{run}: unreadable (") and reason in line, line
    assert f"{name.split('/')[-1]} line {lines}: " in line


def test_a_broken_teacher_evaluation_or_pair_probe_costs_only_itself(tmp_path, capsys):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    teacher = gate.read_yaml(run / "config.yaml")["pair"]["teacher"]["path"]
    (tmp_path / "teacher").mkdir()
    gate.write_yaml({"model": teacher}, tmp_path / "teacher" / "config.yaml")
    row = {"step": 0, "benchmark": "lab", "metric": "avg@2", "value": "1.0"}
    write_rows(tmp_path / "teacher" / "eval.jsonl", [row])
    write_probe(tmp_path / "lab" / "probes-x", "decay", [{"figure": "drop", "value": []}])
    written(tmp_path)
    output = capsys.readouterr().out
    assert 'unreadable (teacher/eval.jsonl line 1: value="1.0" is not a number)' in output
    assert "unreadable (probes-x/decay.jsonl line 1: value=[] is not a number)" in output


def test_a_metric_that_only_begins_with_avg_is_ignored(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    with (run / "eval.jsonl").open("a") as file:
        row = {"step": 2, "benchmark": "lab", "metric": "avg@all", "value": 0.5}
        file.write(json.dumps(row) + "\n")
    written(tmp_path)
    assert record.read(run).row("lab", "avg@", 2)["metric"] == "avg@2"


def test_pairs_with_a_slash_have_separate_figures(tmp_path):
    for pair in ("a/b", "a_b", "../c"):
        write_run(tmp_path / pair.replace("/", "-"), f"pair.name={pair}", "+rollout_len=32",
                  right=RIGHT)  # fmt: skip
    written(tmp_path)
    drawn = list((tmp_path / "figures").rglob("*accuracy_by_length.svg"))
    assert len(drawn) == 3 and {path.parent.name for path in drawn} == {"figures"}
