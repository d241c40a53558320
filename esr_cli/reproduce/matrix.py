"""What there is to reproduce: the cells of a matrix, one command each, with their state on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import CellConfig, ConfigError, MatrixConfig, ReproduceConfig, gate
from esr_cli.config.errors import did_you_mean, need
from esr_cli.execution import jobs

TO_DO, BEGUN, COMPLETE, FAILED = "to do", "begun", "complete", "failed"


@dataclass(frozen=True)
class Cell:
    """One command: `arm` is the matrix's name for it, `run` the folder of a training run.

    `needs` are the ids of the cells that come before it; `asked` is a hash of what it is, wherever
    `out` lies.
    """

    arm: str
    seed: int | None
    command: str
    arguments: tuple[str, ...]
    asked: str
    needs: tuple[str, ...]
    seconds: float
    alone: bool
    out: Path
    run: Path | None
    gib: float = 0.0

    @property
    def id(self) -> str:
        """Its name, unique in the matrix."""
        return self.arm if self.seed is None else f"{self.arm}/seed={self.seed}"

    @property
    def note(self) -> Path:
        """The file that says how it ended; made when it has."""
        return self.out / "cells" / f"{self.id.replace('/', ',')}.json"

    def noted(self) -> dict[str, Any]:
        """What its note says: `asked`, `state`, and of one that ended `seconds` and `reason`."""
        told = files.read_json(self.note) if self.note.is_file() else {"state": TO_DO}
        # A run that was removed, or what was measured with it, is to be had again.
        made = "summary.json" if self.command == "train" else "probes"
        gone = told["state"] == COMPLETE and self.run and not (self.run / made).exists()
        return {**told, "state": TO_DO} if gone else told

    @property
    def complete(self) -> bool:
        """Whether it is done."""
        return bool(self.noted()["state"] == COMPLETE)

    @property
    def state(self) -> str:
        """What became of it so far, in a word or two."""
        said = str(self.noted()["state"])
        last = files.latest(self.run) if self.run and self.command == "train" else None
        return f"at step {files.step_of(last)}" if last and said == BEGUN else said


def read(path: Path) -> MatrixConfig:
    """The matrix of a scale."""
    return gate.typed(gate.read_yaml(path), MatrixConfig)


def cells(matrix: MatrixConfig, config: ReproduceConfig, out: Path) -> list[Cell]:
    """The cells asked for with all that they need, in the order in which they are to be run.

    Seed by seed, so that a report of fewer seeds is never far. Raises `ConfigError` for an unknown
    name in `only`, and where nothing is left.
    """
    wanted = _wanted(matrix, config)
    made: dict[str, Cell] = {}
    for name, each in matrix.cells.items():
        if name not in wanted:
            continue
        of: Sequence[str | None] = each.of or [None]
        for seed in [None] if each.once else _seeds(each, matrix, config):
            for measured in of:
                cell = _cell(name, each, matrix, config, out, seed, measured)
                made[cell.id] = cell
    for cell in made.values():
        for other in cell.needs:
            need(other in made, f"cells.{cell.id}", other, "it needs a cell that is not there")
    order = {name: place for place, name in enumerate(matrix.cells)}
    return sorted(made.values(), key=lambda c: (c.alone, c.seed or 0, order[c.arm.split("@")[0]]))


def too_large(cells: Sequence[Cell], gib: float) -> list[Cell]:
    """The cells that do not fit a GPU of so many GiB, and those that need them."""
    out: dict[str, Cell] = {}
    for cell in cells:
        if cell.gib > gib or any(other in out for other in cell.needs):
            out[cell.id] = cell
    return list(out.values())


def _seeds(
    each: CellConfig, matrix: MatrixConfig, config: ReproduceConfig
) -> Sequence[int]:  # fmt: skip
    given = config.seeds or (matrix.quick.seeds if config.quick else None)
    if given is None:
        return each.seeds or matrix.seeds
    # What looks at fewer of its runs than there are looks at as few of these.
    return given[: len(each.seeds)] if each.of and each.seeds else given


def arguments_as(cell: CellConfig, matrix: MatrixConfig) -> dict[str, str]:
    """What a training cell sets, by key, over what the matrix shows by default."""
    given = [text for text in (*matrix.every, *cell.given) if "=" in text]
    return matrix.shown | dict(text.lstrip("+").split("=", 1) for text in given)


def _wanted(matrix: MatrixConfig, config: ReproduceConfig) -> set[str]:
    for name in config.only:
        if name not in matrix.items:
            remedy = did_you_mean(name, matrix.items) or f"there are {', '.join(matrix.items)}"
            raise ConfigError(f"only={name}: no such table or figure; {remedy}")
    chosen = {cell for name in config.only or matrix.items for cell in matrix.items[name].cells}
    if config.quick:
        chosen &= set(matrix.quick.cells)
        none = f"nothing of {', '.join(config.only)} is in the quick matrix; drop it"
        need(bool(chosen), "quick", "true", none)
    while True:
        more = {n for name in chosen for n in (*matrix.cells[name].needs, *matrix.cells[name].of)}
        if more <= chosen:
            return chosen
        chosen |= more


def _filled(text: str, places: Mapping[str, Any]) -> str:
    """With places filled in; a path may hold anything, so it is quoted."""
    key, _, value = text.partition("=")
    filled = value.format(**places)
    return f"{key}={jobs.text(filled) if '{out}' in value or '{run}' in value else filled}"


def _cell(
    name: str, each: CellConfig, matrix: MatrixConfig, config: ReproduceConfig, out: Path,
    seed: int | None, measured: str | None,
) -> Cell:  # fmt: skip
    trains = each.command == "train"
    below = out / ("timed" if each.alone else "runs")
    run = below / (measured or name) / f"seed={seed}" if trains or measured else None
    places: Mapping[str, Any] = {"out": out.absolute(), "seed": seed, "run": run}
    asked = [*each.given]
    if trains:
        common = matrix.timed if each.alone else matrix.every
        asked = [*common, *each.given, *config.overrides, "seed={seed}"]
    given = [text if text in config.overrides else _filled(text, places) for text in asked]
    if config.data_dir and each.command != "lab":
        given.append(f"data_dir={jobs.text(config.data_dir)}")
    once = {other for other in (*each.needs, *each.of) if matrix.cells[other].once}
    behind = [measured] if measured else []
    needs = tuple(
        other if other in once else f"{other}/seed={seed}" for other in (*each.needs, *behind)
    )
    return Cell(
        arm=f"{name}@{measured}" if measured else name, seed=seed, command=each.command,
        arguments=tuple(given), asked=files.hash_of({"asked": asked}), needs=needs,
        seconds=each.seconds, alone=each.alone, out=out, run=run, gib=each.gib,
    )  # fmt: skip
