"""`esr report` end to end on plain files: what it writes, and what a browser would load."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import interpreter
from run_folders import write_probe, write_run

from esr_cli.base.files import write_rows
from esr_cli.config import ConfigError, ReportConfig
from esr_cli.plots.style import INK, figure
from esr_cli.report import command as report
from esr_cli.report.drawings import inline

RIGHT = {0: [[0, 1]] * 8, 2: [[1, 1]] * 8, 4: [[1, 1]] * 7 + [[0, 0]]}
HOSTILE = "</td><script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two seeds of three conditions, a failed run, probes with figures, and a truncated line."""
    top = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        for n in (8, 32, "full"):
            write_run(top / f"n={n},seed={seed}", f"+rollout_len={n}", f"seed={seed}", right=RIGHT)
    write_run(top / "failed", "+rollout_len=32", "seed=9", right={0: [[0, 1]] * 8}, state="failed")
    probes = top / "n=32,seed=0" / "probes"
    write_probe(probes, "decay", [
        {"figure": "drop", "value": 0.4, "low": 0.3, "high": 0.5, "n": 8},
        *({"figure": "accuracy", "who": who, "value": 0.95, "low": 0.9, "high": 1.0}
          for who in ("teacher", "student")),
        *({"figure": "accuracy", "who": "continued", "at": at, "value": 0.55, "low": 0.5,
           "high": 0.6} for at in (0, 100)),
    ])  # fmt: skip
    write_probe(probes, "categories", [
        {"figure": "token_kl", "who": "before", "token": HOSTILE, "value": 1.0, "low": 0.9,
         "high": 1.1, "n": 9},
        {"figure": "reverse_kl", "who": "before", "category": HOSTILE, "range": "0-4", "value": 1.0,
         "low": 0.9, "high": 1.1, "n": 90},
    ])  # fmt: skip
    write_probe(probes, "samples", [
        {"id": "q0", "who": "before", "prompt": HOSTILE, "tokens": [HOSTILE], "kl": [0.1],
         "correct": False, "reason": HOSTILE}
    ])  # fmt: skip
    write_probe(top / "lab" / "probes-before", "profile", [
        {"figure": "suggested_tokens", "who": "before", "value": 40, "low": 38, "high": 42}
    ])  # fmt: skip
    with (top / "n=8,seed=0" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rollout/tok')
    return top


@pytest.fixture(scope="module")
def text(folder) -> str:
    report.run(ReportConfig(runs=str(folder), title="A & B <i>"), [])
    return (folder / "report.html").read_text()


def test_a_browser_would_load_nothing(text):
    for tag, attributes in Page(text).elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "action", "poster"):
                assert (value or "").startswith("data:"), (tag, name, value)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    # Not even an XML namespace, although a browser would not load it.
    assert "http:" not in text and "https:" not in text


def test_links_point_to_existing_files(folder, text):
    links = [a["href"] for tag, a in Page(text).elements if tag == "a"]
    ids = {a["id"] for _, a in Page(text).elements if "id" in a}
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids, link
        else:
            assert (folder / unquote(link)).is_file(), link
    assert any("samples.html" in link for link in links)


def test_ids_are_unique_and_every_picture_has_alternative_text(text):
    elements = Page(text).elements
    ids = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert not [name for name, count in ids.items() if count > 1]
    pictures = [a for tag, a in elements if tag in ("svg", "img")]
    assert len(pictures) == 7
    assert all(len(a.get("aria-label") or a.get("alt") or "") > 20 for a in pictures)
    refers = re.findall(r'(?:href="#|url\(#)(drawing-[^")]+)', text)
    assert refers and set(refers) <= set(ids)


def test_text_from_files_is_escaped(text):
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "<title>A &amp; B &lt;i&gt;</title>" in text


def test_the_page_has_verdicts_the_paper_s_figures_and_the_failed_run(text):
    assert "too noisy to say" in text and "62.35" in text and "failed" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    # Claims are judged from a probe of the pair and from a probe of a run.
    assert "40 tokens [38, 42]" in text and "+40.0 points [+30.0, +50.0]" in text


def test_versions_and_machines_are_those_of_the_runs(folder, text, tmp_path):
    assert f"torch {version('torch')}" in text and "A GPU of its own" in text
    run = folder / "failed"
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    rows = [{"step": 0, "versions": "torch 1.0", "machine": "an abacus", "gpu": ""}]
    write_rows(moved / "environment.jsonl", rows)
    report.run(ReportConfig(runs=str(moved)), [])
    written = (moved / "report.md").read_text()
    assert "torch 1.0" in written and "an abacus" in written and version("torch") not in written


def test_markdown_has_the_same_verdicts_and_complete_tables(folder, text):
    lines = (folder / "report.md").read_text().splitlines()
    widths = None
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert cells is None or widths in (None, cells), line
        widths = cells
    assert any("40 tokens [38, 42]" in line for line in lines)
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert {f"accuracy_by_length.{kind}" for kind in ("png", "svg")} <= drawn


def test_a_second_report_differs_only_in_its_time(folder, text):
    report.run(ReportConfig(runs=str(folder), title="A & B <i>"), [])
    stamp = re.compile(r"<dt>Written</dt><dd>[^<]*</dd>")
    again = (folder / "report.html").read_text()
    assert stamp.sub("", again) == stamp.sub("", text)


def test_one_run_is_enough_and_out_may_be_elsewhere(folder, tmp_path):
    out = tmp_path / "deep" / "out"
    report.run(ReportConfig(runs=str(folder / "n=32,seed=0"), run_dir=str(out)), [])
    links = [a["href"] for tag, a in Page((out / "report.html").read_text()).elements if tag == "a"]
    assert all((out / unquote(link)).is_file() for link in links if not link.startswith("#"))


def test_the_command_loads_no_heavy_packages(folder, tmp_path):
    code = (
        "import sys; from esr_cli.cli import main as cli\n"
        "title = 'title=Sunday, it\\'s N=32'\n"
        f"sys.argv = ['esr', 'report', 'runs={folder / 'failed'}', 'out={tmp_path}', title]\n"
        "cli.main()\n"
        "print({'torch', 'vllm', 'wandb', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = interpreter("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert "<title>Sunday, it&#39;s N=32</title>" in (tmp_path / "report.html").read_text()
    assert "not measured" in done.stdout and f"report: {tmp_path / 'report.html'}" in done.stdout


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_runs_gives_an_error_of_one_line(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        report.run(ReportConfig(runs=str(tmp_path / name)), [])
    assert str(caught.value).startswith(f"runs={tmp_path / name}: ")
    assert "\n" not in str(caught.value) and not list((tmp_path / "empty").iterdir())


def test_a_drawing_takes_the_text_colour_and_has_prefixed_ids(tmp_path):
    with figure(tmp_path, "one") as axes:
        axes.plot([0, 1], [1, 0], color="0.3")
        axes.fill_between([0, 1], [0.5, 0.5], color="0.92")
        axes.plot([0, 1], [0, 0], color="0.6")
    drawn = inline(tmp_path / "one.svg", "first", "A line that falls.")
    assert INK in (tmp_path / "one.svg").read_text() and INK not in drawn
    assert "currentColor" in drawn and "style=" not in drawn and "#ffffff" not in drawn
    # Dark grey is invisible on a dark page and pale grey too bright; mid grey suits both.
    assert "#4d4d4d" not in drawn and "#ebebeb" not in drawn and "#999999" in drawn
    assert all(name.startswith("first-") for name in re.findall(r' id="([^"]+)"', drawn))
