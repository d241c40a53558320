"""A run folder from a stranger is reported: the page runs nothing, and nothing else is written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import write_probe, write_run
from test_report_page import Page

from esr_cli.config import ConfigError, ReportConfig, gate
from esr_cli.report import command as report
from esr_cli.report.drawings import ATTRIBUTES, ELEMENTS, inline

RIGHT = {0: [[0, 1]] * 8, 2: [[1, 1]] * 8}
# A script that leaves a mark in the page that ran it.
RUN = "document.title='RAN'"
MARKUP = f'</td></style></title></script><script>{RUN}</script><img src=x onerror="{RUN}">'
SVG = f"""<?xml version="1.0"?>
<!DOCTYPE svg [<!ENTITY run "&#60;script>{RUN}&#60;/script>">]>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 xmlns:h="http://www.w3.org/1999/xhtml" viewBox="0 0 9 9" ONLOAD="{RUN}" onload="{RUN}">
<SCRIPT>{RUN}</SCRIPT><script>{RUN}</script><h:script>{RUN}</h:script><title>&run;</title>
<iframe src="javascript:parent.{RUN}" srcdoc="&lt;script>parent.{RUN}&lt;/script>"/>
<h:iframe srcdoc="&lt;script>parent.{RUN}&lt;/script>"/>
<foreignObject><h:body ONCLICK="{RUN}"><h:img src="x" onerror="{RUN}"/></h:body></foreignObject>
<animate attributeName="href" values="javascript:{RUN}" onbegin="{RUN}" dur="1s"/>
<set attributeName="onmouseover" to="{RUN}"/><a xlink:href="javascript:{RUN}"><text>x</text></a>
<image href="data:image/svg+xml,&lt;svg onload='{RUN}'/>"/><use href="https://example.org/#a"/>
<text><![CDATA[<script>{RUN}</script>]]></text><path style="fill:url(https://example.org/x)"
 fill="url(javascript:{RUN})" d="M0 0" onClick="{RUN}"/>
<style>@import "https://example.org/x.css";</style><embed src="x"/><object data="x"/></svg>"""
PAGE_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "nav", "a",
    "main", "section", "table", "caption", "thead", "tbody", "tr", "th", "td", "small", "span",
    "strong", "dl", "dt", "dd", "figure", "figcaption", "details", "summary", "div",
}  # fmt: skip
PAGE_ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "id", "href", "scope", "colspan",
    "data-is", "aria-label", "tabindex", "role", "viewbox", "title",
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A folder with every way for foreign text into a page, reported."""
    top = tmp_path_factory.mktemp("runs")
    for n in (8, "full"):
        run = write_run(top / f"javascript:{n}", f"+rollout_len={n}", right=RIGHT)
        saved = gate.read_yaml(run / "config.yaml")
        saved["pair"] |= {"name": f"lab_{MARKUP}$\\frac$"}
        saved["task"]["name"] = saved["tune"]["method"] = MARKUP
        gate.write_yaml(saved, run / "config.yaml")
        row = {"step": 0, "versions": MARKUP, "machine": MARKUP, "gpu": "\ud800" + MARKUP}
        (run / "environment.jsonl").write_text(json.dumps(row) + "\n")
        for name in ("eval.jsonl", "generations.jsonl"):
            text = (run / name).read_text()
            (run / name).write_text(text.replace('"lab"', json.dumps("lab" + MARKUP)))
        (run / "samples.jsonl").write_text(json.dumps({"response": MARKUP}) + "\n")
        at = {"figure": "reverse_kl", "who": "before", "low": 0.1, "high": 0.3, "n": 9}
        write_probe(run / "probes", "cascade", [
            {**at, "at": place, "who": who, "value": 0.2, "region": MARKUP}
            for who in ("before", "after") for place in range(9)
        ])  # fmt: skip
        write_probe(run / "probes", "categories", [
            {**at, "category": MARKUP, "range": "0-4", "value": 0.2},
            {**at, "figure": "token_kl", "token": MARKUP, "value": 1.0, "low": 0.9, "high": 1.1},
        ])  # fmt: skip
        write_probe(run / "probes", "samples", [
            {"id": MARKUP, "who": "before", "prompt": MARKUP, "tokens": [MARKUP], "kl": [0.5],
             "correct": False, "reason": MARKUP}
        ])  # fmt: skip
        write_probe(run / "probes", MARKUP.replace("/", "|"), [{"figure": MARKUP, "value": 1.0}])
        for name in ("cascade", "categories"):
            (run / "probes" / f"{name}.svg").write_text(SVG)
        (run / "probes" / "samples.html").write_text(f"<script>{RUN}</script>")
    report.run(ReportConfig(runs=str(top), title=MARKUP), [])
    return top


def pages(folder: Path) -> list[Path]:
    """The page, and the pages that it links to."""
    links = [a.get("href") or "" for tag, a in Page((folder / "report.html").read_text()).elements]
    linked = {(folder / link).resolve() for link in links if link.endswith(".html")}
    assert len(linked) == 2
    return [folder / "report.html", *linked]


def test_the_page_has_no_element_or_attribute_outside_the_list(hostile):
    drawn = 0
    for path in pages(hostile):
        for tag, attributes in Page(path.read_text()).elements:
            assert tag in PAGE_TAGS | {each.lower() for each in ELEMENTS}, (path, tag)
            drawn += tag == "svg"
            for name, value in attributes.items():
                allowed = PAGE_ATTRIBUTES | {each.lower() for each in ATTRIBUTES}
                assert name in allowed, (path, tag, name)
                assert name != "href" or ":" not in value.replace("data:image/png", ""), value
    # Two figures, and two probes of each of two runs.
    assert drawn >= 6


def test_a_browser_runs_nothing(hostile, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        pytest.skip("needs chromium")

    def title(path: Path) -> str:
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
             f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert "</html>" in done.stdout, done.stderr
        return done.stdout.partition("<title>")[2].partition("</title>")[0]

    control = tmp_path / "control.html"
    control.write_text(f"<html><title>quiet</title><script>{RUN}</script></html>")
    assert title(control) == "RAN"
    assert not [path for path in pages(hostile) if title(path) == "RAN"]


def test_a_foreign_drawing_is_cut_to_the_list(tmp_path):
    (tmp_path / "foreign.svg").write_text(SVG)
    text = inline(tmp_path / "foreign.svg", "a", MARKUP)
    for tag, attributes in Page(text).elements:
        assert tag in {each.lower() for each in ELEMENTS}
        assert set(attributes) <= {"viewbox", "role", "aria-label", "class", "d"}, attributes


def test_markdown_holds_no_html_and_no_foreign_link(hostile):
    text = (hostile / "report.md").read_text()
    assert "<script" not in text and "<img" not in text and "](javascript" not in text


def test_nothing_is_written_through_a_link(tmp_path):
    run = write_run(tmp_path / "runs", "+rollout_len=8", right=RIGHT)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("report.html", ".report.html.partial"):
        (run / name).symlink_to(mine)
    report.run(ReportConfig(runs=str(run)), [])
    assert mine.read_text() == "mine" and not (run / "report.html").is_symlink()
    shutil.rmtree(run / "figures")
    (run / "figures").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="figures in it is a link"):
        report.run(ReportConfig(runs=str(run)), [])
