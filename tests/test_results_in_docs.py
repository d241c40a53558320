"""Figures in README and docs are those of the files under docs/results.

A table between `<!-- FILE by SCRIPT -->` and `<!-- end -->` is what the script makes of the file.
A paragraph that ends in `<!-- from FILE: KEY/KEY, KEY -->` has no figure that is not found under
one of these keys (in the whole file without keys), in percent or not, to the digits printed;
means of lists and ratios of such means count too.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- (docs/results/\S+) by (scripts/\S+) -->\n(.*?)\n<!-- end -->", re.DOTALL)
BLOCKS = [
    pytest.param(*found, id=f"{page.name}-{at}")
    for page in PAGES for at, found in enumerate(BLOCK.findall(page.read_text()))
]  # fmt: skip
FROM = re.compile(r"<!-- from ((?:docs/results|conf|esr_cli)/\S+?)(?:: ([^>]+))? -->")
PARAGRAPHS = [
    pytest.param(text, id=f"{page.name}-{at}")
    for page in PAGES for at, text in enumerate(page.read_text().split("\n\n")) if FROM.search(text)
]  # fmt: skip
NOT_FIGURES = re.compile(
    r"`[^`]*`|\]\([^)]*\)|<!--.*?-->|\d{4}-\d\d-\d\d|\bN=\d+|temperature\s\d\.\d|\d+\.\d+\.\d+",
    re.DOTALL,
)
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")
# A whole number is a figure in a unit, perhaps behind another one: "94 to 96 %".
UNIT = re.compile(
    r"(?:,? (?:to|and|or|against) \d[\d,.]*)* ?(?:%|points|times|s|GiB|ms|nats|\u00d7)(?!\w)"
)


def figures(text: str) -> list[str]:
    """The decimals of a paragraph, and its whole numbers in a unit."""
    plain = NOT_FIGURES.sub(" ", text)
    found = ((each.group(), plain[each.end() :]) for each in FIGURE.finditer(plain))
    return [number.rstrip(",") for number, rest in found if "." in number or UNIT.match(rest)]


def values(tree: Any) -> Iterator[list[float]]:
    """The numbers of a JSON tree, those of a list together."""
    if isinstance(tree, bool) or tree is None or isinstance(tree, str):
        return
    if isinstance(tree, int | float):
        yield [float(tree)]
    elif isinstance(tree, list) and all(isinstance(each, int | float) for each in tree):
        yield [float(each) for each in tree]
    else:
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from values(each)


def known(path: str, keys: str | None) -> set[float]:
    """The numbers that a paragraph may have from a file."""
    text = (ROOT / path).read_text()
    if not path.endswith(".json"):
        return {float(each.replace(",", "")) for each in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}
    groups: list[list[float]] = []
    for key in keys.split(", ") if keys else [""]:
        tree = json.loads(text)
        for part in key.split("/") if key else []:
            tree = tree[int(part) if isinstance(tree, list) else part]
        groups += [group for group in values(tree) if group]
    means = [fmean(group) for group in groups]
    ratios = {a / b for a, b in permutations(means, 2) if b} if keys and len(means) < 50 else set()
    return {each for group in groups for each in group} | set(means) | ratios


def is_of(figure: str, numbers: set[float]) -> bool:
    """Whether a figure is one of the numbers, or a hundred times one, rounded as it is printed."""
    printed, digits = float(figure.replace(",", "")), len(figure.partition(".")[2])
    near = 0.5 * 10**-digits + 1e-9
    return any(abs(scale * abs(each) - printed) <= near for each in numbers for scale in (1, 100))


@pytest.mark.parametrize("text", PARAGRAPHS)
def test_the_figures_of_a_paragraph_are_those_of_its_files(text):
    numbers = set().union(*(known(path, keys) for path, keys in FROM.findall(text)))
    found = figures(text)
    assert found and [each for each in found if not is_of(each, numbers)] == []


def test_a_wrong_figure_is_found():
    text = "It took 1.5 s, 94 to 96 % ended, `x=0.3`, on 2026-11-29 with N=32 in 80 steps."
    assert figures(text) == ["1.5", "94", "96"]
    assert is_of("94", {0.9412}) and not is_of("94.2", {0.9412}) and not is_of("0.3", {0.4, 30.0})


@pytest.mark.parametrize(("results", "script", "table"), BLOCKS)
def test_a_table_is_the_one_that_its_script_makes_of_its_file(results, script, table):
    written = json.loads((ROOT / results).read_text())
    assert table in runpy.run_path(str(ROOT / script))["tables"](written)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_results_that_a_page_names_exist(page):
    for name in re.findall(r"docs/results/[\w.]+\w", page.read_text()):
        if name != "docs/results/mixture.json":  # the design was published before the runs
            assert (ROOT / name).is_file(), name


def test_every_file_of_results_names_its_command_and_is_listed():
    listed = (ROOT / "docs/results/README.md").read_text()
    for path in sorted((ROOT / "docs/results").glob("[!R]*")):
        text = path.read_text()
        known = "command" in json.loads(text) if path.suffix == ".json" else text.startswith("$ ")
        assert known and f"| [{path.name}]({path.name}) |" in listed, path.name
