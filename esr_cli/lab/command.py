"""`esr lab`: trains the lab's teacher and its students, and writes them as a pair or population."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ConfigError, LabConfig
from esr_cli.lab import cache

# Settings that do not change what is trained.
NOT_SAVED = ("run_dir", "jobs", "students")


def run(config: LabConfig, overrides: list[str] | None = None) -> None:
    """Builds pair or population in its folder unless it exists; refuses a folder with another."""
    out = folder_of(config)
    wanted = members(config)
    _check(out, config)
    if _missing(out, wanted):
        trained = cache.trained(config, list(wanted.values()))
        with cache.lock(out):  # the same command may run twice
            _check(out, config)
            _write(out, config, {name: trained[member] for name, member in wanted.items()})
    record = _record(out) or {}
    for name in wanted:
        shares = (f"{how} {share:.3f}" for how, share in record[name].items())
        print(f"{name}: " + ", ".join(shares))
    student = list(wanted)[-1]
    print(f"esr train pair.student.path={out}/{student} pair.teacher.path={out}/teacher")


def _check(out: Path, config: LabConfig) -> None:
    """Raises `ConfigError` if the folder holds other models."""
    record = _record(out)
    if record is not None and record.get("settings") != _settings(config):
        raise ConfigError(f"run_dir={out}: already holds a lab pair; choose another folder")
    if record is None and (out / "teacher").exists():
        raise ConfigError(f"run_dir={out}: holds a teacher, but no whole lab pair; choose another")


def _missing(out: Path, wanted: Iterable[str]) -> bool:
    return _record(out) is None or not all((out / name).is_dir() for name in wanted)


def _write(out: Path, config: LabConfig, trained: dict[str, Path]) -> None:
    """Copies the models that are missing, after the record of all."""
    accuracies = {name: files.read_json(model / cache.ACCURACY) for name, model in trained.items()}
    # Before the models: what an interrupted command has copied is known as its own.
    out.mkdir(parents=True, exist_ok=True)
    record = {**(_record(out) or {}), "settings": _settings(config), **accuracies}
    files.write_json(out / "lab.json", record)
    for name, model in trained.items():
        if not (out / name).is_dir():
            files.write_folder(out / name, partial(_copy, model))


def members(config: LabConfig) -> dict[str, cache.Member]:
    """The models by the names of their folders."""
    teacher = {"teacher": ("teacher", config.teacher_seed)}
    if config.students == 1:
        return teacher | {"student": ("student", config.student_seed)}
    return teacher | {name: ("student", seed) for name, seed in config.population.items()}


def folder_of(config: LabConfig) -> Path:
    """The output folder: the given one, or the default."""
    if config.run_dir or config.students == 1:
        return Path(config.run_dir or "lab_pair").absolute()
    return files.cache_dir() / "lab" / f"population-{files.hash_of(_settings(config))}"


def _settings(config: LabConfig) -> dict[str, Any]:
    """The settings without the folder, which may be moved, and the number of students."""
    settings = dataclasses.asdict(config)
    own = NOT_SAVED if config.students == 1 else (*NOT_SAVED, "student_seed")
    return {key: value for key, value in settings.items() if key not in own}


def _record(out: Path) -> dict[str, Any] | None:
    path = out / "lab.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _copy(model: Path, target: Path) -> None:
    shutil.copytree(model, target, dirs_exist_ok=True)
    (target / cache.ACCURACY).unlink()
