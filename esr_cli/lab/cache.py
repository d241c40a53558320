"""Trains models of the lab in processes of their own, and keeps them in the cache."""

from __future__ import annotations

import dataclasses
import inspect
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from esr_cli.base import failures, files, writing
from esr_cli.base import process as proc
from esr_cli.base.failures import Failure
from esr_cli.config import LabConfig

# Role and seed of a model.
Member = tuple[str, int]
ACCURACY = "lab_accuracy.json"
# What a model does not depend on: its folder and number, and the settings of the other role.
OF_NO_MODEL = ("run_dir", "students", "jobs", "teacher_seed", "student_seed")
OF_TEACHER = ("teacher_tokenizer", "teacher_error", "teacher_late_error", "teacher_steps")
OF_STUDENT = ("student_tokenizer", "careful_share", "slip", "student_steps", "second_end_share")


def trained(config: LabConfig, members: Sequence[Member]) -> dict[Member, Path]:
    """The model folder of each member, trained now unless it is in the cache.

    `config.jobs` models are trained at a time, on one thread each. A model that another command
    is training is waited for. Raises `Failure` if one cannot be trained; the others that are
    complete stay in the cache.
    """
    folders = {member: folder_of(config, member) for member in members}
    waiting = missing(config, members)
    context = multiprocessing.get_context("spawn")
    running: dict[BaseProcess, Member] = {}
    try:
        while waiting or running:
            while waiting and len(running) < config.jobs:
                member = waiting.pop(0)
                process: BaseProcess = context.Process(
                    target=_build, args=(*member, config, folders[member], os.getpid()), daemon=True
                )
                _start(process)
                running[process] = member
            wait([process.sentinel for process in running])
            for process in [each for each in running if not each.is_alive()]:
                _check(process, *running.pop(process), folders)
    finally:  # after Ctrl-C this process would wait for one that is stopped
        for process in running:
            process.kill()
    return folders


def missing(config: LabConfig, members: Sequence[Member]) -> list[Member]:
    """The members that are not in the cache."""
    return [each for each in members if not (folder_of(config, each) / ACCURACY).is_file()]


def folder_of(config: LabConfig, member: Member) -> Path:
    """The folder of a model in the cache, named by all that it depends on."""
    role, seed = member
    other = OF_STUDENT if role == "teacher" else OF_TEACHER
    settings = {
        key: value for key, value in dataclasses.asdict(config).items()
        if key not in (*OF_NO_MODEL, *other)
    }  # fmt: skip
    known = {"role": role, "seed": seed, "settings": settings, "made_by": _made_by()}
    return files.cache_dir() / "lab" / f"{role}-{seed}-{files.hash_of(known)}"


def lock(folder: Path) -> AbstractContextManager[None]:
    """Waits until no other command writes the folder, and keeps others waiting."""
    name = f".{folder.name}-{files.hash_of({'folder': str(folder.absolute())})}.lock"
    return writing.waited_lock(files.cache_dir() / "lab" / name)


@cache
def _made_by() -> dict[str, Any]:
    """The code and the torch that train: with others the same settings give other weights."""
    import torch

    from esr_cli.lab import build, byte_tokenizer, networks, tokenizers, training
    from esr_cli.tasks import lab

    sources = (build, byte_tokenizer, networks, tokenizers, training, lab)
    code = {"code": [inspect.getsource(module) for module in sources]}
    return {"code": files.hash_of(code), "torch": torch.__version__}


def _start(process: BaseProcess) -> None:
    # Ctrl-C is for this process alone; the others end with it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _check(process: BaseProcess, role: str, seed: int, folders: dict[Member, Path]) -> None:
    if process.exitcode:
        reason = _reason(folders[role, seed])
        why = reason.read_text() if reason.exists() else f"exit status {process.exitcode}"
        reason.unlink(missing_ok=True)
        raise Failure(f"the {role} of seed {seed} could not be trained: {why}")


def _reason(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.failed")


def _build(role: str, seed: int, config: LabConfig, folder: Path, parent: int) -> None:
    """Trains a model into its folder; leaves the reason of a failure beside it."""
    proc.end_with(parent)
    from esr_cli.lab import build

    try:
        # Two commands may need one model, as two populations do with one teacher.
        with lock(folder):
            if not (folder / ACCURACY).is_file():
                files.write_folder(folder, lambda partial: build.build(role, seed, config, partial))
    except Exception as error:
        _reason(folder).write_text(failures.explain(error))
        raise SystemExit(1) from None
