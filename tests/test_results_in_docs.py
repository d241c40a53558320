"""Tables in README and docs from a file of docs/results are what its script makes of it."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- (docs/results/\S+) by (scripts/\S+) -->\n(.*?)\n<!-- end -->", re.DOTALL)
BLOCKS = [
    pytest.param(*found, id=f"{page.name}-{at}")
    for page in PAGES for at, found in enumerate(BLOCK.findall(page.read_text()))
]  # fmt: skip


@pytest.mark.parametrize(("results", "script", "table"), BLOCKS)
def test_a_table_is_the_one_that_its_script_makes_of_its_file(results, script, table):
    written = json.loads((ROOT / results).read_text())
    assert table in runpy.run_path(str(ROOT / script))["tables"](written["conditions"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_results_that_a_page_names_exist(page):
    for name in re.findall(r"docs/results/[\w.]+\w", page.read_text()):
        if name != "docs/results/mixture.json":  # the design was published before the runs
            assert (ROOT / name).is_file(), name


def test_every_file_of_results_names_its_command():
    for path in sorted((ROOT / "docs/results").iterdir()):
        text = path.read_text()
        known = "command" in json.loads(text) if path.suffix == ".json" else text.startswith("$ ")
        assert known, path.name
