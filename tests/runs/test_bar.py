"""The progress of a run on a terminal: readable at 80 columns, and gone when it has ended."""

from __future__ import annotations

import io
import re

from rich.console import Console

from esr_cli.runs.bar import Bar

SHOWN = "loss 12.3456 KL 12.3456"
PHASES = "length 1024  generate 12.34s  score 12.34s  train 12.34s  sync 12.34s"


def screen(width):
    """What a terminal of that width has on it after a step."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = Bar(console, 1000, 0, "full")
    bar.step(999, SHOWN, PHASES)
    bar.evaluated(0.125)
    bar.refresh()
    lines = [text for each in bar.get_renderables() for text in console.render_lines(each)]
    bar.stop()
    return ["".join(part.text for part in line).rstrip() for line in lines]


def test_at_80_columns_what_matters_stands_in_the_first_line_and_the_phases_below():
    first, second = screen(80)
    assert len(first) <= 80
    for part in ("step 999/1000", SHOWN, "N full", "acc 0.125", "left"):
        assert part in first
    assert re.search(r"\d+:\d\d left|--:-- left", first), first
    assert second == PHASES


def test_a_wider_terminal_has_a_bar_and_a_narrower_one_two_lines_still():
    assert "━" in screen(110)[0] and "━" not in screen(70)[0]
    assert [len(each) <= 40 for each in screen(40)] == [True, True]
