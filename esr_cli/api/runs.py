"""A run folder as an object with tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esr_cli.base import files
from esr_cli.base.files import Rows
from esr_cli.config import ConfigError, gate
from esr_cli.config.errors import need_choice
from esr_cli.runs import lines, record

if TYPE_CHECKING:
    import pandas

EVALUATIONS = ("step", "benchmark", "metric", "value", "low", "high", "n")
SAMPLES = ("step", "benchmark", "id", "prompt", "response", "correct", "reason")


@dataclass(frozen=True)
class Run:
    """A run: its folder, its settings as nested dictionaries, and its `state`.

    The state is complete, unfinished or failed. The tables are pandas frames, each read at its
    first use; `rows` returns the same without pandas. All of them raise `ConfigError` for a file
    that is broken.
    """

    folder: Path
    config: dict[str, Any] = field(repr=False)
    state: str

    @property
    def student(self) -> Path:
        """The folder of the trained model, for transformers and vLLM; a complete run has it."""
        return self.folder / "student"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The outcome of a complete run: accuracies, medians of times; else empty."""
        path = self.folder / "summary.json"
        found = files.read_json(path) if path.is_file() else {}
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: holds no summary; delete it")
        return found

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """A row a step: loss, KL and entropies in nats, lengths in tokens, times in s."""
        return _frame(self.rows("metrics.jsonl"), ("step",))

    @cached_property
    def evaluations(self) -> pandas.DataFrame:
        """A row a metric of each evaluation, with its 95 % interval `low` to `high`.

        Includes what `esr eval run=` added with the run's settings. `n` counts questions.
        """
        return _frame(record.rows_of_run(self.folder, "eval.jsonl"), EVALUATIONS)

    @cached_property
    def samples(self) -> pandas.DataFrame:
        """A few responses of each evaluation, with their prompts and verdicts."""
        return _frame(self.rows("samples.jsonl"), SAMPLES)

    def rows(self, name: str) -> Rows:
        """The rows of one of the run's files, such as `generations.jsonl`, as dictionaries.

        Empty if the run has no such file. Raises `ConfigError` for a name that no run uses.
        """
        need_choice("name", name, tuple(lines.OF_FILE))
        return list(lines.read(self.folder / name, lines.OF_FILE[name][0]))


def load_run(path: str | Path) -> Run:
    """The run in a folder that `esr train` wrote. Raises `ConfigError` if it holds none."""
    folder = Path(path).expanduser()
    if not all((folder / name).is_file() for name in ("config.yaml", "metrics.jsonl")):
        raise ConfigError(
            f"path={path}: holds no run (config.yaml and metrics.jsonl); name the folder of one"
        )
    return Run(folder, gate.read_yaml(folder / "config.yaml"), record.state_of(folder))


def _frame(rows: Rows, columns: tuple[str, ...]) -> pandas.DataFrame:
    """A table of the rows; without any row it has the `columns` all the same."""
    try:
        import pandas
    except ImportError:
        raise ConfigError(
            "pandas: is not installed; pip install pandas, or take Run.rows(…), which needs none"
        ) from None
    return pandas.DataFrame(rows, columns=None if rows else list(columns))
