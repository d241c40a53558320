"""Tables on a terminal, and as plain text in logs and pipes, where nothing is cut."""

from __future__ import annotations

import io
import os
import select
import sys

from rich.console import Console
from rich.table import Table

# Columns of a log: no table needs more, and no line of a path is cut below it.
WIDEST = 2000


def is_terminal() -> bool:
    """Whether the output is a terminal on which lines may change.

    The output of `!esr …` in a notebook is none, though Jupyter makes it look like one.
    """
    # The one is set by Jupyter, the other by its kernel, whatever program has started that.
    inline = "inline" in os.environ.get("MPLBACKEND", "")
    return sys.stdout.isatty() and "JPY_PARENT_PID" not in os.environ and not inline


def is_closed() -> bool:
    """Whether nobody reads the output any more, as after `esr … | head`."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))  # an error or a hang-up; nothing else was asked for
    except (OSError, ValueError):  # a stream without a file, or a closed one
        return False


def console() -> Console:
    """The output. In a notebook it is plain text; rich would make an HTML block of each line."""
    # The brackets of intervals are not markup.
    return Console(markup=False, highlight=False, force_terminal=is_terminal(), force_jupyter=False)


def show(table: Table) -> None:
    """Prints a table: on a terminal in its width, elsewhere as wide as its content."""
    if is_terminal():
        console().print(table)
    else:
        print(text(table), end="")


def text(table: Table) -> str:
    """The table as plain text, as wide as its content."""
    out = io.StringIO()
    plain = Console(
        file=out, markup=False, highlight=False, width=WIDEST, color_system=None,
        force_terminal=False, force_jupyter=False,
    )  # fmt: skip
    title = len(str(table.title)) if table.title else 0
    plain.width = max(1, plain.measure(table).maximum, title)
    plain.print(table)
    # Without a frame each row is filled up to the widest.
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
