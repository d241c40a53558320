"""Graders by name."""

from __future__ import annotations

import warnings

from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig
from esr_cli.config.benchmark import KINDS
from esr_cli.config.errors import need_choice
from esr_cli.config.evaluate import SANDBOXES
from esr_cli.types import Grader

GRADERS = KINDS


def grader(
    name: str, *, box: str = "last", sandbox: str = "bubblewrap", raw: bool = False
) -> Grader:
    """The grader of that name, one of `GRADERS`; `close` ends its processes.

    Its references are what `Question.reference` holds for such a benchmark: a text for `math`,
    `words` and `lab`, a `CodeReference` for `code`, a `ToolReference` for `tools`. `box` selects
    the box that is graded, as `benchmark.NAME.box` does. Code runs in the `sandbox`, `bubblewrap`
    or `none`; with `raw` a response continues the code of its prompt. Raises `ConfigError` for an
    unknown name, or if the sandbox cannot run.
    """
    need_choice("grader", name, GRADERS)
    need_choice("sandbox", sandbox, SANDBOXES)
    config = BenchmarkConfig(kind=name, box=box, prompt="raw" if raw else "chat")
    return catalog.grader(config, sandbox, lambda text: warnings.warn(text, stacklevel=2))
