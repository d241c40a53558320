"""The pages as a site, and the notebook."""

from __future__ import annotations

import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from execute_notebook import executed
from markdown_it import MarkdownIt

NOTEBOOK = ROOT / "examples/first_hour.ipynb"
# What MkDocs and a code host see in the same text.
TAGS = ("li", "pre", "tr", "h2", "h3", "img", "blockquote")
# What a browser loads by itself.
LOADED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, and what was printed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_asks_the_network_for_nothing(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert not LOADED.search(page.read_text()), page
    styles = [each.read_text() for each in site.rglob("*.css")]
    assert styles and not any(re.search(r"url\([\"']?(https?:)?//", each) for each in styles)


def test_the_site_shows_each_page_as_a_code_host_does(site):
    pages = sorted((ROOT / "docs").rglob("*.md"))
    for page in pages:
        built = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        built = built.with_name("index.html") if page.name == "README.md" else built
        article = re.search(r"<article.*?</article>", built.read_text(), re.S)[0]
        here = MarkdownIt("gfm-like", {"linkify": False}).render(page.read_text())
        assert [_count(article, tag) for tag in TAGS] == [_count(here, tag) for tag in TAGS], page
    assert _count(here, "tr") > 10


def _count(html, tag):
    return len(re.findall(rf"<{tag}[\s>]", html))


def test_the_notebook_is_kept_as_it_was_executed():
    cells = [
        each for each in nbformat.read(NOTEBOOK, as_version=4).cells if each.cell_type == "code"
    ]
    assert [each.execution_count for each in cells] == list(range(1, len(cells) + 1))
    outputs = [output for each in cells for output in each.outputs]
    assert {"stream", "display_data", "execute_result"} == {each.output_type for each in outputs}
    assert not any("stderr" in (each.get("name"),) for each in outputs)
    printed = "".join(each.text for each in outputs if each.output_type == "stream")
    # Lines that do not change, and no sequences of a terminal.
    assert "step 40/40" in printed and "\x1b" not in printed and "/home/" not in printed


def test_the_notebook_runs(tmp_path):
    pytest.importorskip("ipykernel")
    book = executed(NOTEBOOK, tmp_path)
    kinds = [output.output_type for each in book.cells for output in each.get("outputs", [])]
    # Figures that the notebook draws itself, after commands of esr have drawn theirs.
    assert kinds.count("display_data") == 2 and "error" not in kinds
    was = nbformat.read(NOTEBOOK, as_version=4)
    assert [len(each.get("outputs", [])) for each in book.cells] == [
        len(each.get("outputs", [])) for each in was.cells
    ]
    assert (tmp_path / "runs/notebook/report.html").is_file()
