"""Files that are cut off, empty, or no text: the rest is still reported."""

from __future__ import annotations

import json
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
    write_probe(run / "probes", "samples", [{"id": "q0"}])
    (run / "probes" / "samples.html").write_text("<!DOCTYPE html>")
    written(top)
    links = [a["href"] for tag, a in Page((top / "report.html").read_text()).elements if tag == "a"]
    lead = [unquote(link) for link in links if not link.startswith("#")]
    assert len(lead) == 3 and all((top / link).is_file() for link in lead)
    assert "(<n = 32/config.yaml>)" in (top / "report.md").read_text()
    assert "(<n = 32/probes/samples.html>)" in (top / "report.md").read_text()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [("", "no settings"), ("[1, 2]", "no settings"), ("a: [", ""), ("seed: 1", "lacks"),
     ("pair: null", "")],
)  # fmt: skip
def test_a_folder_that_cannot_be_read_is_listed_and_the_rest_reported(tmp_path, settings, reason):
    write_run(tmp_path / "good", "+rollout_len=32", right=RIGHT)
    write_run(tmp_path / "bad", "+rollout_len=32", right=RIGHT)
    (tmp_path / "bad" / "config.yaml").write_text(settings)
    text = written(tmp_path)
    assert "unreadable" in text and reason in text and "1 unreadable" in text
    (tmp_path / "good" / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError):
        written(tmp_path)


def test_a_list_beside_an_evaluation_and_a_broken_probe_s_settings_are_passed_by(tmp_path):
    write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    for name, text in (("one", "- a\n- b"), ("two", "model: ["), ("three", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eval.jsonl").write_text("")
        (tmp_path / name / "config.yaml").write_text(text)
    write_probe(tmp_path / "lab" / "probes-x", "decay", [{"figure": "drop", "value": 0.1}])
    (tmp_path / "lab" / "probes-x" / "decay.yaml").write_text("pair: [")
    written(tmp_path)


@pytest.mark.parametrize("half", ["", "<svg", "<svg/>", "<svg viewBox='0 0'/>", "<html><p>"])
def test_half_a_figure_is_said_to_be_broken(tmp_path, half):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    write_probe(run / "probes", "decay", [{"figure": "drop", "value": 0.1}])
    (run / "probes" / "decay.svg").write_text(half)
    with pytest.raises((SyntaxError, ValueError, IndexError)):
        inline(run / "probes" / "decay.svg", "a", "b")
    assert "figure broken" in written(tmp_path)


def test_rows_without_what_they_should_have_are_passed_by(tmp_path):
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
    assert [arm.done[0].steps("lab") for arm in group.arms] == [[0, 2], [0, 1, 2]]


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
def test_a_value_of_another_type_is_told_by_file_and_line(tmp_path, capsys, name, row, reason):
    write_run(tmp_path / "good", "+rollout_len=32", right=RIGHT)
    run = write_run(tmp_path / "bad", "+rollout_len=full", right=RIGHT)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    told = {"step": 2, "benchmark": "lab", "metric": "avg@2"} if "eval" in name else {}
    with (run / name).open("a") as file:
        file.write(json.dumps({**told, **row}) + "\n")
    lines = len((run / name).read_text().splitlines())
    assert "1 unreadable" in written(tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if "unreadable (" in line]
    [line] = said
    assert line.startswith(f"{run}: unreadable (") and reason in line, line
    assert f"{name.split('/')[-1]} line {lines}: " in line


def test_a_broken_evaluation_of_the_teacher_and_probe_of_a_pair_cost_themselves(tmp_path, capsys):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    teacher = gate.read_yaml(run / "config.yaml")["pair"]["teacher"]["path"]
    (tmp_path / "teacher").mkdir()
    gate.write_yaml({"model": teacher}, tmp_path / "teacher" / "config.yaml")
    row = {"step": 0, "benchmark": "lab", "metric": "avg@2", "value": "1.0"}
    write_rows(tmp_path / "teacher" / "eval.jsonl", [row])
    write_probe(tmp_path / "lab" / "probes-x", "decay", [{"figure": "drop", "value": []}])
    written(tmp_path)
    said = capsys.readouterr().out
    assert 'unreadable (teacher/eval.jsonl line 1: value="1.0" is not a number)' in said
    assert "unreadable (probes-x/decay.jsonl line 1: value=[] is not a number)" in said


def test_a_metric_that_only_begins_like_avg_is_passed_by(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    with (run / "eval.jsonl").open("a") as file:
        row = {"step": 2, "benchmark": "lab", "metric": "avg@all", "value": 0.5}
        file.write(json.dumps(row) + "\n")
    written(tmp_path)
    assert record.read(run).row("lab", "avg@", 2)["metric"] == "avg@2"


def test_a_run_that_failed_and_goes_on_is_no_failed_run(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT, state="unfinished")
    first = ["run folder: x", "starting the engine", "failed: out of memory"]

    def state(*said: str) -> str:
        (run / "esr.log").write_text("".join(f"2026-01-01 10:00:00 {each}\n" for each in said))
        return record.read(run).state

    assert state(*first, *["warning: late"] * 9) == "failed"
    assert state(*first, "run folder: x", "step 2: lab failed: no") == "unfinished"


def added(run, **changed) -> None:
    """An evaluation at another step, as `esr eval run=` leaves it."""
    place = run / "eval" / "more"
    place.mkdir(parents=True, exist_ok=True)
    saved = gate.read_yaml(run / "config.yaml")
    gate.write_yaml({"limit": saved["limit"], "benchmark": saved["benchmark"]} | changed,
                    place / "config.yaml")  # fmt: skip
    row = {"metric": "avg@2", "value": 0.5, "low": 0.4, "high": 0.6}
    write_rows(
        place / "eval.jsonl", [{"step": 5, "benchmark": each, **row} for each in ("lab", "gsm8k")]
    )


def test_an_added_evaluation_counts_where_it_asked_as_the_run_did(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    added(run)
    assert record.read(run).steps("lab") == [0, 2, 5] and record.read(run).steps("gsm8k") == [5]
    added(run, limit=10)
    assert record.read(run).steps("lab") == [0, 2] and not record.read(run).steps("gsm8k")
    added(run, benchmark={"lab": {"samples": 1}})
    assert record.read(run).steps("lab") == [0, 2]


def test_of_several_k_the_largest_stands_and_no_other_metric(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    more = {"step": 2, "benchmark": "lab", "value": 0.5, "low": 0.4, "high": 0.6}
    names = ("pass@2", "pass@16", "pass@4", "first_boxed@4", "not_avg@9")
    rows = [*read_rows(run / "eval.jsonl"), *({**more, "metric": name} for name in names)]
    write_rows(run / "eval.jsonl", rows)
    told = {
        name: record.read(run).row("lab", name, 2) for name in ("pass@", "first_boxed@", "avg@")
    }
    assert [row["metric"] for row in told.values()] == ["pass@16", "first_boxed@4", "avg@2"]


def test_pairs_with_a_slash_have_figures_of_their_own(tmp_path):
    for pair in ("a/b", "a_b", "../c"):
        write_run(tmp_path / pair.replace("/", "-"), f"pair.name={pair}", "+rollout_len=32",
                  right=RIGHT)  # fmt: skip
    written(tmp_path)
    drawn = list((tmp_path / "figures").rglob("*accuracy_by_length.svg"))
    assert len(drawn) == 3 and {path.parent.name for path in drawn} == {"figures"}
