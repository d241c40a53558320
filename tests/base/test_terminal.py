"""Tables in logs and pipes: whole, however long a path in them is."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from esr_cli.base import terminal


class Terminal(io.StringIO):
    """What `!esr …` of a notebook writes to."""

    def isatty(self):
        return True


@pytest.mark.parametrize("variable", ["JPY_PARENT_PID=1", "MPLBACKEND=module://x.backend_inline"])
def test_the_output_in_a_notebook_is_no_terminal(variable, monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr("sys.stdout", Terminal())
    assert terminal.is_terminal() and terminal.console().is_terminal
    monkeypatch.setenv(*variable.split("="))
    assert not terminal.is_terminal() and not terminal.console().is_terminal


LONG = "/a/folder/with/a/long/name" * 9


def test_a_table_that_is_not_shown_on_a_terminal_is_as_wide_as_its_content(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("run", "value")
    table.add_row(LONG, "[0.1, 0.2]")
    terminal.show(table)
    printed = capsys.readouterr().out
    assert LONG in printed and "[0.1, 0.2]" in printed
    lines = printed.splitlines()
    bare = Table(box=None, show_header=False)
    bare.add_row("ok", "x")
    bare.add_row("ok", LONG)
    assert all(line == line.rstrip() for line in terminal.text(bare).splitlines())
    assert len(lines) == 5 and len({len(each) for each in lines}) == 1
    assert printed == terminal.text(table)
