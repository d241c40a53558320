"""The first part of a report: which runs share a table, and what it answers about them."""

from __future__ import annotations

import pytest
from run_folders import write_run

from esr_cli.base.files import append_rows
from esr_cli.config import ConfigError, ReportConfig
from esr_cli.report import command as report
from esr_cli.report.answers import answers, compact, notes
from esr_cli.report.book import open_book
from esr_cli.report.facts import duration
from esr_cli.report.panels import Panel, panels, start_of
from esr_cli.report.sections import Section, sections
from esr_cli.report.tables import Table
from esr_cli.report.terminal import MOST, screen

NOTHING = Table("", "", (), ())


def verdicts(right: int, questions: int = 100) -> list[list[int]]:
    """The first `right` of the questions are answered, each once."""
    return [[int(index < right)] for index in range(questions)]


def trained(folder, n, *overrides: str, last: int, questions: int = 100, **given) -> None:
    """A run that ends with `last` right answers of so many questions, and begins with 10.

    `seed`, `limit`, `seconds` and `tokens` of a step may be given.
    """
    begun, ended = (verdicts(right, questions) for right in (10, last))
    changed = {key: given.pop(key) for key in ("seed", "limit") if key in given}
    name = "-".join(map(str, [n, *overrides, *changed.values()]))
    write_run(folder / name, "+rollout_len=16", *overrides, right={0: begun, 2: begun, 4: ended},
              changed={"rollout.max_tokens": n, **changed}, **given)  # fmt: skip


def panels_of(folder) -> list[Panel]:
    (group,) = open_book(folder).groups
    return panels(group)


def said(panel: Panel) -> dict[str, str]:
    return {each.question: each.text for each in answers(panel)}


def test_runs_with_other_numbers_of_questions_share_no_table_and_no_figure(tmp_path):
    for limit, questions in ((64, 64), (None, 100)):
        for n in (16, "full"):
            trained(tmp_path, n, limit=limit, last=50, questions=questions)
    many, few = panels_of(tmp_path)
    assert (many.asked, few.asked) == (100, 64)
    assert all(each.group is many.group for each in (many, few))
    found = [{each.config["limit"] for each in panel.conditions} for panel in (many, few)]
    assert found == [{None}, {64}]
    # Each has its own start; the one start of a group is that of the most questions.
    assert (many.start.value, few.start.value) == (0.1, pytest.approx(10 / 64))
    assert start_of(many.group.graded, "lab").config["limit"] is None
    shown = sections((many.group,), tmp_path / "figures", ("svg",))
    for name in ("tokens", "step", "seconds", "length"):
        drawn = sorted(path.name for path in (tmp_path / "figures").glob(f"*_by_{name}.svg"))
        assert len(drawn) == 2 and "-100-" in drawn[0] and "-64-" in drawn[1], drawn
    captions = " ".join(each.caption + each.alt_text for each in shown[0].pictures)
    assert "ESR N=16: " in captions and "None" not in captions
    labels = [condition.label for condition in many.group.conditions]
    assert "ESR N=16, all questions" in labels and "ESR N=16, 64 questions" in labels


def test_a_question_that_could_not_be_judged_was_asked(tmp_path):
    trained(tmp_path, 16, last=50, questions=100)
    trained(tmp_path, 32, last=50, questions=99)
    trained(tmp_path, 64, limit=64, last=50, questions=64)
    assert [panel.asked for panel in panels_of(tmp_path)] == [100, 64]


def test_every_benchmark_of_a_run_has_a_table(tmp_path):
    for n in (16, "full"):
        trained(tmp_path, n, "benchmark=[lab,words]", last=50)
        rows = [{"step": step, "benchmark": "words", "metric": "avg@1", "value": share, "low": 0.1,
                 "high": 0.9, "n": 40} for step, share in ((0, 0.2), (4, 0.6))]  # fmt: skip
        append_rows(tmp_path / f"{n}-benchmark=[lab,words]" / "eval.jsonl", rows)
    lab, words = panels_of(tmp_path)
    assert (lab.name, words.name) == ("lab avg@2, 100 questions", "words avg@1, 40 questions")
    assert words.accuracy(words.conditions[0]).value == 0.6
    report.run(ReportConfig(runs=str(tmp_path)), [])
    text = (tmp_path / "report.md").read_text()
    assert "| words avg@1, % |" in text and "| lab avg@2, % |" in text


def test_the_best_is_compared_with_each_other_condition(tmp_path):
    for seed in (0, 1, 2, 3):
        for n, last in ((8, 20), (16, 80), (32, 81), ("full", 70)):
            trained(tmp_path, n, seed=seed, last=last + seed % 2)
    (panel,) = panels_of(tmp_path)
    assert panel.reference.label == "full rollouts"
    found = said(panel)
    assert found["Best"].startswith("ESR N=32, 81.5 % [")
    assert found["Best"].endswith("the student began at 10.0 % [5.5, 17.4].")
    assert found["More than noise?"].startswith("No: its lead over ESR N=16, +1.0 points [")
    # Full rollouts and N=8 lie clearly behind.
    assert found["More than noise?"].endswith("within noise.")
    for path in tmp_path.glob("16-*"):
        (path / "summary.json").unlink()  # no longer complete
    (panel,) = panels_of(tmp_path)
    assert said(panel)["More than noise?"].startswith(
        "Yes: its lead over the next best, full rollouts, is +11.0 points ["
    )
    assert notes(panel) == []


def test_one_seed_is_said_to_answer_for_other_questions_alone(tmp_path):
    trained(tmp_path, 16, last=90)
    trained(tmp_path, "full", last=30)
    (panel,) = panels_of(tmp_path)
    lead = said(panel)["More than noise?"]
    assert lead.startswith("Over other questions yes: its lead over the next best, full rol")
    assert lead.endswith("Over other seeds nothing is known.")
    assert "no other seed" in notes(panel)[0]


def test_without_full_rollouts_the_best_is_the_reference(tmp_path):
    trained(tmp_path, 16, last=50)
    trained(tmp_path, 32, last=60)
    (panel,) = panels_of(tmp_path)
    assert [line.difference is None for line in panel.lines] == [False, True]
    assert panel.reference.tokens == 32


def test_one_condition_is_compared_with_its_start(tmp_path):
    trained(tmp_path, 16, last=60)
    (panel,) = panels_of(tmp_path)
    assert "no other condition" in said(panel)["More than noise?"]
    assert "gain over the start is +50.0 points [" in said(panel)["More than noise?"]


def test_the_cost_names_shares_and_the_cheapest_that_is_as_good(tmp_path):
    for n, last, tokens in ((16, 79, 10.0), (32, 80, 20.0), ("full", 60, 80.0)):
        trained(tmp_path, n, last=last, seconds=tokens, tokens=tokens)
    (panel,) = panels_of(tmp_path)
    cost = said(panel)["Cost"]
    # Four steps.
    assert cost.startswith("80 tokens sampled, 80 s of training, 2.00 GiB at the peak")
    assert "25% of the tokens and 25% of the seconds of full rollouts" in cost
    assert cost.endswith("ESR N=16, with 50% of its tokens.")


def test_the_terminal_has_at_most_25_lines(tmp_path, monkeypatch):
    for n in range(2, 24):
        trained(tmp_path, n, last=10 + n, questions=40)
    (panel,) = panels_of(tmp_path)
    one = Section("", "", [], [], None, [], [], NOTHING, panel)
    broken = [f"folder {number}: unreadable (lacks 'pair')" for number in range(9)]
    for columns in (80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        for shown, unreadable in (([one], []), ([one] * 3, broken), ([], broken)):
            lines = screen(shown, unreadable, "The claims: …", ["report: r.html"]).split("\n")
            assert sum(-(-max(1, len(line)) // columns) for line in lines) <= MOST, lines
            assert lines[-1] == "report: r.html"
            assert ("more in the report" in "".join(lines)) == bool(shown)
        lines = screen([one], [], "The claims: …", []).split("\n")
        assert sum(line.startswith("ESR N=23 ") for line in lines) == 1
        assert any(line.startswith("Best: ESR N=23") for line in lines)
        assert any("]*" in line for line in lines) == ("*: more than noise" in lines)


def test_the_terminal_explains_its_star_and_names_runs_that_did_not_end(tmp_path, capsys):
    for n, last in ((16, 20), (32, 90)):
        trained(tmp_path, n, last=last)
    for n in range(6):
        folder, right = tmp_path / f"open-{n}", {0: [[0], [1]]}
        write_run(folder, f"+rollout_len={n + 1}", right=right, state="unfinished")
    report.run(ReportConfig(runs=str(tmp_path), run_dir=str(tmp_path / "out")), [])
    lines = capsys.readouterr().out.splitlines()
    assert any("]*" in line for line in lines) and "*: more than noise" in lines, lines
    named = ", ".join(f"open-{n} (unfinished)" for n in range(4))
    assert lines[-2] == f"not complete, and so in no table: {named} and 2 more"


def test_figures_are_written_as_pdf_on_request_and_a_wrong_format_is_refused(tmp_path):
    trained(tmp_path, 16, last=60)
    report.run(ReportConfig(runs=str(tmp_path), run_dir=str(tmp_path / "out"), format="pdf"), [])
    names = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert "accuracy_by_tokens.pdf" in names and {name[-4:] for name in names} == {".pdf"}
    assert not (tmp_path / "out" / "report.html").exists()
    report.run(ReportConfig(runs=str(tmp_path), format=["html", "pdf"]), [])
    kinds = {path.suffix for path in (tmp_path / "figures").glob("accuracy_by_step.*")}
    assert kinds == {".pdf", ".png", ".svg"} and (tmp_path / "report.html").is_file()
    for wrong in ("svg", [], ["html", 3], None):
        with pytest.raises(ConfigError, match=r"^format="):
            ReportConfig(format=wrong)


def test_counts_and_seconds_are_short():
    assert [compact(each) for each in (0, 9_999, 12_345, 1_640_000, 72_000_000)] == [
        "0", "9,999", "12k", "1.6M", "72M"
    ]  # fmt: skip
    assert [duration(each) for each in (3.21, 34.4, 720, 12_240)] == [
        "3.2 s", "34 s", "12 min 0 s", "3 h 24 min"
    ]  # fmt: skip
