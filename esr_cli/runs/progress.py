"""How far an engine is with many responses: in a terminal at any time, in a log now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from esr_cli.base.terminal import console, is_terminal

# Seconds between two lines of a log. What takes less adds none.
LOG_S = 30.0
# Of fewer responses that have ended the time left would be a guess: those that end first are short.
KNOWN_SHARE = 0.5


class Progress:
    """Passes a line on the responses that have ended to `show`, at most every `every_s` seconds."""

    def __init__(self, show: Callable[[str], None], every_s: float, what: str) -> None:
        self.show, self.every_s, self.what = show, every_s, what
        self._began = self._shown = 0.0

    def __call__(self, ended: int, total: int) -> None:
        """`ended` of `total` responses have ended; at 0 the clock starts."""
        now = time.perf_counter()
        if ended == 0:
            self._began = self._shown = now
        if now - self._shown < self.every_s:
            return
        self._shown = now
        left = (now - self._began) / max(1, ended) * (total - ended)
        self.show(
            f"{self.what}: {ended} of {total} responses"
            + (f", about {left:.0f} s left" if ended >= KNOWN_SHARE * total else "")
        )


def in_log(what: str) -> Progress:
    """Progress as lines of the output, which is not a terminal."""
    return Progress(lambda line: print(line, flush=True), LOG_S, what)


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """Progress as a line of the terminal that changes, or as lines of a log."""
    if not is_terminal():
        yield in_log(what)
        return
    with console().status(what) as status:
        yield Progress(lambda line: status.update(line), 0.0, what)
