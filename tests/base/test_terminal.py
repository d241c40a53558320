"""Tables in logs and pipes: whole, however long a path in them is."""

from __future__ import annotations

from rich.table import Table

from esr_cli.base import terminal

LONG = "/a/folder/with/a/long/name" * 9


def test_a_table_that_is_not_shown_on_a_terminal_is_as_wide_as_its_content(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("run", "value")
    table.add_row(LONG, "[0.1, 0.2]")
    terminal.show(table)
    printed = capsys.readouterr().out
    assert LONG in printed and "[0.1, 0.2]" in printed
    lines = printed.splitlines()
    assert len(lines) == 5 and len({len(each) for each in lines}) == 1
    assert printed == terminal.text(table)
