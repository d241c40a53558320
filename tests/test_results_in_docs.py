"""Figures in README and docs that say where they are from are those of that file.

A table between `<!-- FILE by SCRIPT -->` and `<!-- end -->` is one that the script makes of the
file. A paragraph that ends in `<!-- from FILE: WHERE; WHERE -->` has no number that is not there.
In a JSON file WHERE is a path of keys (`conditions/full/last`), or `PATH - PATH` or `PATH / PATH`
for the differences or ratios of equally long lists; in another file a text that stands there in
quotes. `given 512 32` names numbers of the paragraph that are settings and no figures.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"<!-- (docs/results/\S+) by (scripts/\S+) -->\n(.*?)\n<!-- end -->", re.DOTALL)
FROM = re.compile(r"<!-- from ((?:docs/results|conf|esr_cli)/\S+): (.+?) -->", re.DOTALL)
TEXTS = {page: page.read_text() for page in PAGES}
BLOCKS = [
    pytest.param(*found, id=f"{page.name}-{at}")
    for page in PAGES for at, found in enumerate(BLOCK.findall(TEXTS[page]))
]  # fmt: skip
PARAGRAPHS = [
    pytest.param(text, id=f"{page.name}-{at}")
    for page in PAGES for at, text in enumerate(TEXTS[page].split("\n\n")) if FROM.search(text)
]  # fmt: skip
NO_FIGURES = re.compile(
    r"`[^`]*`|\]\([^)]*\)|<!--.*?-->|\d{4}-\d\d-\d\d|\bN=\d+|temperature\s\d\.\d|\d+\.\d+\.\d+",
    re.DOTALL,
)
NUMBER = re.compile(r"(?<![\w.])([-+\u2212]?)(\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)(?![\w.]*\w)")
QUOTED = re.compile(r'"([^"]+)"')


def numbers(text: str) -> list[str]:
    """The numbers of a text, with their signs."""
    plain = NO_FIGURES.sub(" ", text)
    return [
        sign.replace("\u2212", "-") + number.rstrip(",").replace(",", "")
        for sign, number in NUMBER.findall(plain)
    ]


def leaves(tree: Any) -> Iterator[float]:
    """All numbers of a JSON tree."""
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(each)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield float(tree)


def at(tree: Any, path: str) -> list[float]:
    """The numbers below a path of keys."""
    for part in path.split("/"):
        tree = tree[int(part) if isinstance(tree, list) else part]
    return list(leaves(tree))


def known(path: str, where: str) -> list[float]:
    """The numbers that a comment allows."""
    text, found = (ROOT / path).read_text(), list[float]()
    for part in " ".join(where.split()).split("; "):
        if part.startswith("given "):
            found += map(float, part.split()[1:])
        elif not path.endswith(".json"):
            quote = QUOTED.fullmatch(part)
            assert quote and quote[1] in " ".join(text.split()), f"{path}: {part}"
            found += map(float, numbers(quote[1].replace("%", " %")))
        else:
            sides = re.split(r" ([-/]) ", part)
            found += _combined(json.loads(text), sides)
    return found


def _combined(tree: Any, sides: list[str]) -> list[float]:
    first = at(tree, sides[0])
    if len(sides) == 1:
        return first
    pairs = list(zip(first, at(tree, sides[2]), strict=True))
    return [a - b if sides[1] == "-" else a / b for a, b in pairs]


def is_of(number: str, allowed: list[float]) -> bool:
    """Whether a number is an allowed one, rounded as it is printed; without a sign, of any sign."""
    printed, mantissa = float(number), number.partition("e")[0]
    digits = len(mantissa.partition(".")[2])
    size = 10 ** int(number.partition("e")[2] or 0)
    near = 0.5 * 10**-digits * size * (1 + 1e-9) + 1e-9 * size
    signed = number[0] in "+-"
    return any(abs((each if signed else abs(each)) - printed) <= near for each in allowed)


@pytest.mark.parametrize("text", PARAGRAPHS)
def test_the_numbers_of_a_paragraph_are_those_of_its_files(text):
    allowed = [each for path, where in FROM.findall(text) for each in known(path, where)]
    found = numbers(text)
    assert found and [each for each in found if not is_of(each, allowed)] == []


def test_a_wrong_number_is_found():
    text = (
        "It took 1.5 s, 94\nto 96 % ended, \u22122 points, 1,824 tokens, `x=0.3`, N=32, 2026-11-29."
    )
    assert numbers(text) == ["1.5", "94", "96", "-2", "1824"]
    assert is_of("94", [94.4]) and is_of("1.7", [-1.74]) and is_of("-2", [-2.2])
    assert not is_of("94.2", [94.12]) and not is_of("+2", [-2.0]) and not is_of("94", [0.94])
    assert is_of("5e-06", [5.2e-6]) and not is_of("5e-06", [6e-6])


@pytest.mark.parametrize(("results", "script", "table"), BLOCKS)
def test_a_table_is_the_one_that_its_script_makes_of_its_file(results, script, table):
    written = json.loads((ROOT / results).read_text())
    assert table in runpy.run_path(str(ROOT / script))["tables"](written)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_comment_of_a_page_is_understood(page):
    rest = FROM.sub("", BLOCK.sub("", TEXTS[page]))
    assert "<!--" not in NO_FIGURES.sub(lambda m: m[0] if m[0][0] == "<" else "", rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_results_that_a_page_names_exist(page):
    for name in re.findall(r"docs/results/[\w.]+\w", TEXTS[page]):
        assert (ROOT / name).is_file(), name


def test_every_file_of_results_names_its_command_and_is_listed():
    folder = ROOT / "docs/results"
    listed = dict(re.findall(r"\| \[(\S+)\]\((\S+)\) \|", (folder / "README.md").read_text()))
    files = {path.name: path for path in folder.iterdir() if path.name != "README.md"}
    assert listed == {name: name for name in files}
    for path in files.values():
        text = path.read_text()
        command = json.loads(text)["command"] if path.suffix == ".json" else text
        assert re.match(r"(\$ )?(esr|python|pytest|make|bash) ", command), path.name
