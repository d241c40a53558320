"""Which files and models of the hub the settings need, and whether they can be had.

Reads no file and imports no torch, so that what is missing is reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from esr_cli.base import hub, places
from esr_cli.config.benchmark import BenchmarkConfig
from esr_cli.config.errors import ConfigError
from esr_cli.config.evaluate import EvalConfig
from esr_cli.config.pair import ModelConfig, teacher_key
from esr_cli.config.task import TaskConfig
from esr_cli.config.train import TrainConfig


def need(config: TrainConfig | EvalConfig) -> None:
    """Raises `ConfigError` for the first file, or model of the hub, that cannot be had.

    What `pair.adapt` may leave out is not looked at, nor are the models of a run.
    """
    models: dict[str, ModelConfig] = {}
    if isinstance(config, EvalConfig):
        for name, each in config.benchmark.items():
            need_files(name, each, config.data_dir)
        if config.model:
            models = {"model": ModelConfig(config.model, config.revision)}
    else:
        for topic, check in file_checks(config):
            if topic != "benchmarks" or not config.pair.adapt:
                check()
        pair = config.pair
        if pair.weights == "pretrained":
            models = {"pair.student.path": pair.student}
            models |= {f"{teacher_key(x)}.path": each for x, each in pair.all_teachers.items()}
    for key, model in models.items():
        if hub_id(model.path):
            hub.need_model(key, model.path, model.revision)


def hub_id(path: str) -> bool:
    """Whether a model's path is an id of the hub, `owner/name`; anything else is a folder."""
    named = path.count("/") == 1 and not path.startswith((".", "/", "~"))
    return named and not os.path.exists(path)


def file_checks(config: TrainConfig) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields what the data are for and a check, which raises `ConfigError` if a file is missing and
    cannot be downloaded.
    """
    task, folder = config.task, config.data_dir
    if not task.made:
        topic = f"task={task.name}"
        yield (
            "data",
            lambda: places.locate(topic, named(task), task.hub.path, task.source, folder),
        )
    for name, each in config.benchmark.items():
        yield "benchmarks", partial(need_files, name, each, folder)


def need_files(name: str, config: BenchmarkConfig, data_dir: str | None) -> None:
    """Raises `ConfigError` if a file of a benchmark is missing and cannot be downloaded."""
    for files in (config.files, config.answers):
        if files or (config.hub.path and files is config.files):
            places.locate(name, files, config.hub.path, config.source, data_dir)


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
