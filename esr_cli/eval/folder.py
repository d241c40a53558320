"""The folder of an evaluation, and which parts of it are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from esr_cli.base.files import append_rows, read_rows, write_rows
from esr_cli.benchmarks.exam import Evaluation
from esr_cli.config import ConfigError, EvalConfig, gate
from esr_cli.runs import record
from esr_cli.runs.folder import name_of, need_files, need_no_links, need_writable
from esr_cli.runs.record import key_of

# Overrides that name the parent folder or do not change the results.
NOT_IN_NAME = re.compile(
    r"(run_dir|model|revision|run|generations|data_dir|sandbox)=|execution[.=]"
)
WRITTEN = ("config.yaml", "eval.jsonl", "generations.jsonl", "engine.log")
# The evaluated (benchmark, step) pairs.
Done = set[tuple[str, int]]


def open_for(config: EvalConfig, overrides: list[str]) -> Path:
    """Opens the folder of this evaluation; an interrupted evaluation resumes in it.

    Raises `ConfigError` if the folder holds another evaluation or is not writable.
    """
    name = name_of(overrides, NOT_IN_NAME)
    folder = Path(config.run_dir) if config.run_dir else _parent(config) / name
    if config.run and not config.run_dir:
        need_no_links("run", [folder.parent, folder])
    need_files("run_dir", [folder / each for each in WRITTEN])
    need_writable("run_dir", folder)
    plain, saved = gate.as_plain(config), folder / "config.yaml"
    del plain["trust_remote_code"]  # changes no result
    if saved.exists() and _settings(saved) != plain:
        raise ConfigError(
            f"run_dir={folder}: holds an evaluation with other settings; choose another"
        )
    gate.write_yaml(plain, saved)
    # Responses without results are from an interrupted write.
    complete = done(folder)
    rows = record.rows_in(folder, "generations.jsonl")
    kept = [row for row in rows if key_of(row) in complete]
    write_rows(folder / "generations.jsonl", kept)
    return folder


def _settings(saved: Path) -> dict[str, Any]:
    """The settings of an evaluation. Before 0.2 `run_dir` was named `out`."""
    plain = gate.read_yaml(saved)
    return {"run_dir" if key == "out" else key: value for key, value in plain.items()}


def done(folder: Path) -> Done:
    """The (benchmark, step) pairs that `eval.jsonl` has results for."""
    return {key_of(row) for row in record.rows_in(folder, "eval.jsonl", ("benchmark", "step"))}


def append(folder: Path, evaluation: Evaluation) -> None:
    """Writes the responses, then the results at once: results imply that responses are there."""
    append_rows(folder / "generations.jsonl", evaluation.generations)
    write_rows(folder / "eval.jsonl", read_rows(folder / "eval.jsonl") + evaluation.rows)


def _parent(config: EvalConfig) -> Path:
    if config.run:
        return Path(config.run) / "eval"
    source = Path(str(config.generations)).stem if config.generations else str(config.model)
    return Path("runs") / "eval" / re.sub(r"[^\w.-]+", "-", source).strip("-")
