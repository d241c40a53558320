"""Where an evaluation lives, and what of it is done."""

from __future__ import annotations

import re
from pathlib import Path

from esr_cli.base.files import append_rows, read_rows, write_rows
from esr_cli.benchmarks.exam import Evaluation
from esr_cli.config import ConfigError, EvalConfig, gate
from esr_cli.runs.folder import name_of, need_writable
from esr_cli.runs.record import key_of

# What names the folder above, or does not change the figures.
NOT_IN_NAME = re.compile(r"(out|model|revision|run|generations|data_dir|sandbox)=|execution[.=]")
# Benchmark and step.
Done = set[tuple[str, int]]


def open_for(config: EvalConfig, overrides: list[str]) -> Path:
    """The folder of this evaluation; one that was cut off goes on where it was.

    Raises `ConfigError` where the folder holds another evaluation, or cannot be written.
    """
    name = name_of(overrides, NOT_IN_NAME)
    folder = Path(config.out) if config.out else _above(config) / name
    need_writable("out", folder)
    plain, saved = gate.as_plain(config), folder / "config.yaml"
    if saved.exists() and gate.read_yaml(saved) != plain:
        raise ConfigError(f"out={folder}: holds an evaluation with other settings; choose another")
    gate.write_yaml(plain, saved)
    # Responses whose figures are missing were cut off while being written.
    whole = done(folder)
    kept = [row for row in read_rows(folder / "generations.jsonl") if key_of(row) in whole]
    write_rows(folder / "generations.jsonl", kept)
    return folder


def done(folder: Path) -> Done:
    """What `eval.jsonl` has figures for."""
    return {key_of(row) for row in read_rows(folder / "eval.jsonl")}


def append(folder: Path, found: Evaluation) -> None:
    """Responses first: figures mean that their responses are there, and come all at once."""
    append_rows(folder / "generations.jsonl", found.generations)
    write_rows(folder / "eval.jsonl", read_rows(folder / "eval.jsonl") + found.rows)


def _above(config: EvalConfig) -> Path:
    if config.run:
        return Path(config.run) / "eval"
    source = Path(str(config.generations)).stem if config.generations else str(config.model)
    return Path("runs") / "eval" / re.sub(r"[^\w.-]+", "-", source).strip("-")
