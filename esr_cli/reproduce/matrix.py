"""The cells of a reproduction matrix: one command each, with its state on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import (
    CellConfig,
    ConfigError,
    LabConfig,
    MatrixConfig,
    ReproduceConfig,
    gate,
)
from esr_cli.config.errors import did_you_mean, need
from esr_cli.execution import jobs

TO_DO, BEGUN, COMPLETE, FAILED = "to do", "begun", "complete", "failed"


@dataclass(frozen=True)
class Cell:
    """One command: `configuration` is its name in the matrix, `run` the folder of a training run.

    `student` is the name of the student of a population that it runs with, or empty. `needs` are
    the ids of the cells that must complete first. `settings_hash` covers its settings, independent
    of `out` and of the size of a population, whose folders are `models`.
    """

    configuration: str
    student: str
    seed: int | None
    command: str
    arguments: tuple[str, ...]
    settings_hash: str
    needs: tuple[str, ...]
    seconds: float
    alone: bool
    out: Path
    run: Path | None
    gib: float = 0.0
    models: tuple[Path, ...] = ()

    @property
    def id(self) -> str:
        """Its name, unique in the matrix."""
        return _id(self.configuration, self.student, self.seed)

    @property
    def record_file(self) -> Path:
        """The JSON file of its state, written when it starts and when it ends."""
        return self.out / "cells" / f"{self.id.replace('/', ',')}.json"

    def record(self) -> dict[str, Any]:
        """The contents of its file: `asked`, `state`, and after its end `seconds` and `reason`."""
        path = self.record_file
        saved = files.read_json(path) if path.is_file() else {"state": TO_DO}
        # If its run, its probes or a model was removed, or more students are asked for, it has to
        # run again.
        output = "summary.json" if self.command == "train" else "probes"
        outputs = [*([self.run / output] if self.run else []), *self.models]
        removed = saved["state"] == COMPLETE and not all(path.exists() for path in outputs)
        return {**saved, "state": TO_DO} if removed else saved

    @property
    def complete(self) -> bool:
        """Whether its command succeeded and its output exists."""
        return bool(self.record()["state"] == COMPLETE)

    @property
    def state(self) -> str:
        """Its state in a word or two; of a training run under way, the last step saved."""
        state = str(self.record()["state"])
        last = files.latest(self.run) if self.run and self.command == "train" else None
        return f"at step {files.step_of(last)}" if last and state == BEGUN else state


def read(path: Path) -> MatrixConfig:
    """Reads the matrix of a scale."""
    return gate.typed(gate.read_yaml(path), MatrixConfig)


def cells(matrix: MatrixConfig, config: ReproduceConfig, out: Path) -> list[Cell]:
    """The requested cells with all cells that they need, in the order to run them.

    They are ordered by seed and student, so that a report of the first is soon possible. Raises
    `ConfigError` for an unknown name in `only`, and if no cell remains.
    """
    wanted = _wanted(matrix, config)
    by_id: dict[str, Cell] = {}
    for name, each in matrix.cells.items():
        if name not in wanted:
            continue
        # Labs run first.
        where, after = f"cells.{name}.needs", _needed(each)
        need(each.command != "lab" or not after, where, after, "a lab cell needs no other")
        targets: Sequence[str | None] = each.of or [None]
        seeds: Sequence[int | None] = [None] if each.once else _seeds(each, matrix, config)
        for measured in targets:
            for student in _students(each, measured, matrix, config):
                for seed in seeds:
                    cell = _cell(name, each, matrix, config, out, student, seed, measured)
                    by_id[cell.id] = cell
    for cell in by_id.values():
        for other in cell.needs:
            need(other in by_id, f"cells.{cell.id}", other, "it needs a cell that does not exist")
    order = {name: place for place, name in enumerate(matrix.cells)}
    return sorted(
        by_id.values(),
        key=lambda c: (c.alone, c.seed or 0, c.student, order[c.configuration.split("@")[0]]),
    )


def too_large(cells: Sequence[Cell], gib: float) -> list[Cell]:
    """The cells that do not fit on a GPU of `gib` GiB, and those that need them."""
    excluded: dict[str, Cell] = {}
    for cell in cells:
        if cell.gib > gib or any(other in excluded for other in cell.needs):
            excluded[cell.id] = cell
    return list(excluded.values())


def _students(
    each: CellConfig, measured: str | None, matrix: MatrixConfig, config: ReproduceConfig
) -> Sequence[str]:
    """The names of the students that a cell runs with; one empty name if it is over none."""
    over = matrix.cells[measured].over if measured else each.over
    return _population(over, matrix, config) if over else [""]


def _population(name: str, matrix: MatrixConfig, config: ReproduceConfig) -> list[str]:
    """The names of the students that the cell `name` makes."""
    whole = matrix.cells[name].students
    size = config.students or (min(whole, matrix.quick.students) if config.quick else whole)
    return list(LabConfig(students=size).population)


def _id(name: str, student: str, seed: int | None) -> str:
    return "/".join(
        [name, *([student] if student else []), *([] if seed is None else [f"seed={seed}"])]
    )


def _seeds(
    each: CellConfig, matrix: MatrixConfig, config: ReproduceConfig
) -> Sequence[int]:  # fmt: skip
    given = config.seeds or (matrix.quick.seeds if config.quick else None)
    if given is None:
        return each.seeds or matrix.seeds
    # A measurement with fewer seeds than the matrix keeps its number of seeds.
    return given[: len(each.seeds)] if each.of and each.seeds else given


def arguments_as(cell: CellConfig, matrix: MatrixConfig) -> dict[str, str]:
    """A training cell's overrides by key, on top of the matrix's `shown` defaults."""
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
        more = {n for name in chosen for n in _needed(matrix.cells[name])}
        if more <= chosen:
            return chosen
        chosen |= more


def _needed(each: CellConfig) -> list[str]:
    return [*each.needs, *each.of, *([each.over] if each.over else [])]


def _fill(text: str, values: Mapping[str, Any]) -> str:
    """Fills in the placeholders; paths are quoted, since they may hold any character."""
    key, _, value = text.partition("=")
    filled = value.format(**values)
    is_path = any(f"{{{name}}}" in value for name in ("out", "run", "population"))
    return f"{key}={jobs.text(filled) if is_path else filled}"


def _cell(
    name: str, each: CellConfig, matrix: MatrixConfig, config: ReproduceConfig, out: Path,
    student: str, seed: int | None, measured: str | None,
) -> Cell:  # fmt: skip
    trains = each.command == "train"
    parent = out / ("timed" if each.alone else "runs")
    run = parent / _id(measured or name, student, seed) if trains or measured else None
    values: Mapping[str, Any] = {
        "out": out.absolute(), "seed": seed, "run": run, "student": student,
        "population": out.absolute() / "pairs" / (each.over or name),
    }  # fmt: skip
    given = [*each.given]
    if each.students:
        given += [f"students={len(_population(name, matrix, config))}", "run_dir={population}"]
    if each.over:
        given += [
            f"pair.population={each.over}", "pair.student.path={population}/{student}",
            "pair.teacher.path={population}/teacher",
        ]  # fmt: skip
    overrides = given
    if trains:
        common = matrix.timed if each.alone else matrix.every
        overrides = [*common, *given, *config.overrides, "seed={seed}"]
    arguments = [text if text in config.overrides else _fill(text, values) for text in overrides]
    if each.command == "lab":
        arguments.append(f"jobs={config.jobs or matrix.jobs}")
    elif config.data_dir:
        arguments.append(f"data_dir={jobs.text(config.data_dir)}")
    # A population can grow: its students are those of a smaller one and more. Before 0.2 `run_dir`
    # was named `out`: a reproduction that began then has that in its hashes.
    asked = [
        re.sub(r"^run_dir=", "out=", text) for text in overrides
        if not text.startswith("students=")
    ]  # fmt: skip
    models = _models(each, Path(values["population"]), matrix, config, name)
    needed = [*each.needs, *([each.over] if each.over else []), *([measured] if measured else [])]
    needs = tuple(
        other if matrix.cells[other].once
        else _id(other, student if matrix.cells[other].over else "", seed) for other in needed
    )  # fmt: skip
    return Cell(
        configuration=f"{name}@{measured}" if measured else name, student=student, seed=seed,
        command=each.command,
        arguments=tuple(arguments), settings_hash=files.hash_of({"asked": asked}), needs=needs,
        seconds=each.seconds, alone=each.alone, out=out, run=run, gib=each.gib, models=models,
    )  # fmt: skip


def _models(
    each: CellConfig, folder: Path, matrix: MatrixConfig, config: ReproduceConfig, name: str
) -> tuple[Path, ...]:
    """The model folders that a population's cell makes; empty for other cells."""
    if not each.students:
        return ()
    return tuple(folder / model for model in ("teacher", *_population(name, matrix, config)))
