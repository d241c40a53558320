"""The progress of a run on a terminal of 80 columns: two lines that change."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

# What the first line needs beside its bar, at four digits of steps.
OTHERS, WIDEST = 76, 20
# Seconds over which the speed is measured: steps may take minutes each.
WHOLE_RUN_S = 1e9


class Bar(Progress):
    """Step, loss, KL, N, accuracy and time left in the first line; phases, or how far an
    evaluation is, in the second. Nothing wraps on 80 columns.
    """

    def __init__(self, console: Console, total: int, start: int, n: str) -> None:
        """`n` is the rollout length in words."""
        self._n, self._below, self._measured, self._accuracy = n, "", "", ""
        room = min(WIDEST, console.width - OTHERS)
        bar = [BarColumn(bar_width=room)] if room > 1 else []
        # TimeRemainingColumn has no label, and a terminal of 80 columns has no room for one.
        super().__init__(
            TextColumn("step {task.completed}/{task.total}"), *bar,
            TextColumn("{task.fields[shown]}", markup=False), TimeRemainingColumn(compact=True),
            TextColumn("left"), console=console, speed_estimate_period=WHOLE_RUN_S,
        )  # fmt: skip
        self._task = self.add_task("train", total=total, completed=start, shown="")
        self.start()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The two lines."""
        yield from super().get_renderables()
        if self._below:
            yield Text(self._below, style="dim", no_wrap=True, overflow="ellipsis")

    def step(self, step: int, measured: str, below: str) -> None:
        """Shows a step: `measured` in the first line, `below` in the second."""
        self._measured = f"{measured} N {self._n}"
        self._below = below
        self.update(self._task, completed=step, shown=f"{self._measured}{self._accuracy}")

    def evaluated(self, accuracy: float) -> None:
        """Shows the accuracy of an evaluation from now on."""
        self._accuracy = f" acc {accuracy:.3f}"
        self.update(self._task, shown=f"{self._measured}{self._accuracy}")

    def below(self, line: str) -> None:
        """Shows something else in the second line until the next step."""
        self._below = line
        self.refresh()

    def stop(self) -> None:
        """Leaves the first line where it is."""
        self._below = ""
        super().stop()
