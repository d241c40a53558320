"""`esr compare` of several runs: what they are called, and tables for a page and for a paper."""

from __future__ import annotations

import re

import pytest
from conftest import esr
from run_folders import write_run

from esr_cli.compare.command import joined, run
from esr_cli.config import CompareConfig, ConfigError

ONE, ALL = [[1], *[[0]] * 39], [[1]] * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of three N, one with a comma in its name, and with full rollouts."""
    top = tmp_path_factory.mktemp("many")
    for name, n in (("a&b_50%", 8), ("limit=40,rollout=x", 16), ("32", 32), ("full", "full")):
        write_run(top / name, f"+rollout_len={n}", seconds=2.0,
                  right={0: ONE, 3: ALL if n == 16 else ONE})  # fmt: skip
    return top


def of(folder, *names: str) -> list[str]:
    return [str(folder / each) for each in names]


def printed(capsys, **settings) -> str:
    run(CompareConfig(**settings), [])
    return capsys.readouterr().out


def test_runs_are_named_by_what_differs_and_compared_with_the_first(folder, capsys):
    names = ("full", "limit=40,rollout=x", "32")
    pieces = [piece for each in of(folder, *names) for piece in each.split(",")]
    text = printed(capsys, runs=pieces)
    lines = [re.split(r"\s*│\s*", line) for line in text.splitlines() if line.startswith("│")]
    assert [line[1] for line in lines] == ["full rollouts", "N=16", "N=32"]
    assert "minus full rollouts, points" in text
    # Three steps of 64 tokens and 2 seconds; the baseline has no difference.
    assert lines[0][3:] == ["–", "", "192", "6.0", ""]
    assert lines[1][2] == "100.0 [91.2, 100.0]" and lines[1][3].startswith("+97.5 [")
    assert [line[4] for line in lines[1:]] == ["answers better", "within noise"]
    other = printed(capsys, runs=pieces, baseline=str(folder / "32"), step=0)
    assert "minus N=32, points" in other and "answers" not in other.split("note")[0]
    assert " 0.0 │" not in other and "–" in other, "before training nothing was sampled"


def test_the_command_line_takes_a_list_whose_folders_hold_commas(folder):
    runs = ",".join(("full", "limit=40,rollout=x", "32"))
    done = esr("compare", f"runs=[{runs}]", "baseline=32", cwd=folder)
    assert done.returncode == 0 and "minus N=32, points" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("N=16") == 1


def test_latex_is_balanced_and_escaped(folder, tmp_path, capsys):
    for name in ("50%_&{x}~#$", "[b]^\\"):
        (tmp_path / name).mkdir()
        for file in ("eval.jsonl", "generations.jsonl"):
            (tmp_path / name / file).write_bytes((folder / "32" / file).read_bytes())
    text = printed(capsys, runs=of(tmp_path, "50%_&{x}~#$", "[b]^\\"), format="latex")
    assert r"50\%\_\&\{x\}\textasciitilde{}\#\$ &" in text
    assert "\n{}[b]\\textasciicircum{}\\textbackslash{} & " in text
    text += printed(capsys, runs=of(folder, "full", "a&b_50%", "32"), format="latex")
    tabulars = re.findall(r"\\begin{tabular}{@{}(lr+)@{}}\n(.*?)\\end{tabular}", text, re.DOTALL)
    for tabular in tabulars:
        columns, body = len(tabular[0]), tabular[1]
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        cells = [len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows if "multicolumn" not in row]
        assert len(rows) >= 4 and set(cells) == {columns}
        assert rf"\multicolumn{{{columns}}}{{@{{}}l}}" in body
        plain = re.sub(r"\\[\\{}]", "", body)
        assert plain.count("{") == plain.count("}")
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1] * 3
        outside = re.sub(r"\\[%&_#$]", "", body.replace("$-$", ""))
        assert not re.search(r"[%_#$~^–]", outside), outside
    assert len(tabulars) == text.count("tabular}{") == 2


def test_markdown_has_a_table_that_a_page_can_show(folder, capsys):
    text = printed(capsys, runs=of(folder, "full", "32"), format="markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1 and len(rows) == 4
    assert rows[3].startswith("| N=32 | 2.5 [") and "**lab, 40 questions**" in text


def test_seeds_of_several_trainings_are_compared_in_one_table(tmp_path, capsys):
    for n, shares in ((8, (10, 12, 14)), (16, (30, 33, 36)), (32, (11, 12, 13))):
        for seed, right in enumerate(shares):
            write_run(tmp_path / str(n) / str(seed), f"+rollout_len={n}", f"seed={seed}",
                      right={0: ONE, 2: [[int(i < right)] for i in range(40)]})  # fmt: skip
    text = printed(capsys, runs=of(tmp_path, "8", "16", "32"))
    lines = [re.split(r"\s*│\s*", line) for line in text.splitlines() if line.startswith("│")]
    assert [(line[1], line[2]) for line in lines] == [("N=8", "3"), ("N=16", "3"), ("N=32", "3")]
    assert [line[5] for line in lines] == ["", "is better", "within noise"]
    assert "three seeds or fewer" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": ["full"]}, r"runs=full: is one; name two or more"),
        ({"runs": ["full", "none"]}, r"runs=none: no such folder"),
        ({"runs": ["full", "32"], "baseline": "16"}, r"baseline=16: is not one of runs"),
        ({"runs": ["full", "32"], "a": "full"}, r"a=full: leave it out"),
        ({"a": "full", "b": "32", "baseline": "32"}, r"baseline=32: give it with runs"),
        ({"a": "full"}, r"^b=: name a folder"),
        ({"runs": ["full", "32"], "format": "html"}, r"format=html"),
        ({"runs": ["full", "32"], "step": -1}, r"step=-1: give 0 or more"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(folder, monkeypatch, settings, message):
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=message):
        run(CompareConfig(**settings), [])


def test_folders_are_joined_at_commas_as_far_as_they_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a,b", "c,d,e", "f"):
        (tmp_path / name).mkdir()
    assert joined(["a", "b", "c", "d", "e", "f"]) == ["a,b", "c,d,e", "f"]
    assert joined(["a", "f"]) == ["a", "f"]
