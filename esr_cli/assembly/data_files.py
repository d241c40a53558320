"""Which files the data of a run need, and whether they are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from esr_cli.benchmarks import catalog
from esr_cli.config import ConfigError, TaskConfig, TrainConfig
from esr_cli.tasks import rows


def need_files(config: TrainConfig) -> None:
    """Raises `ConfigError` at the first of `file_checks` that fails."""
    for _, check in file_checks(config):
        check()


def file_checks(config: TrainConfig) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields what the data are for and a check, which raises `ConfigError` if a file is missing and
    cannot be downloaded. None reads a file.
    """
    task, folder = config.task, config.data_dir
    if not task.made:
        topic = f"task={task.name}"
        yield "data", lambda: rows.locate(topic, named(task), task.hub, task.source, folder)
    for name, each in config.benchmark.items():
        yield "benchmarks", partial(catalog.need_files, name, each, folder)


def named(task: TaskConfig) -> list[str]:
    """The files of a task; raises `ConfigError` if task=jsonl names none."""
    if task.name != "jsonl":
        return task.files
    if not task.files and not task.hub.path:
        raise ConfigError(
            "task.files=[]: name your own, task.files=[FILE], or a data set of the hub, "
            "task.hub.path=NAME"
        )
    # First a path as given; a file that is not there is searched for below data_dir.
    return [os.path.abspath(file) if os.path.exists(file) else file for file in task.files]
