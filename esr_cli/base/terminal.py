"""Tables on a terminal, and as plain text in logs and pipes, where nothing is cut."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

# Columns of a log: no table needs more, and no line of a path is cut below it.
WIDEST = 2000


def show(table: Table) -> None:
    """Prints a table: on a terminal in its width, elsewhere as wide as its content."""
    # The brackets of intervals are not markup.
    console = Console(markup=False, highlight=False)
    if console.is_terminal:
        console.print(table)
    else:
        print(text(table), end="")


def text(table: Table) -> str:
    """The table as plain text, as wide as its content."""
    out = io.StringIO()
    console = Console(file=out, markup=False, highlight=False, width=WIDEST, color_system=None)
    title = len(str(table.title)) if table.title else 0
    console.width = max(1, console.measure(table).maximum, title)
    console.print(table)
    return out.getvalue()
