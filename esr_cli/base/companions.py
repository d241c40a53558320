"""Hides companions of torch that are of another build than torch, so that no import of them fails.

vLLM's CPU build requires torchvision, torchaudio and torchcodec, of any build. Where pip finds a
CPU build of torch and none of these, it installs theirs for CUDA. Importing them raises, and so
does importing transformers or vLLM, which use them if they are installed. esr needs none of them.

    python -m esr_cli.base.companions MODULE ARGUMENTS     runs a module of others in this way
"""

from __future__ import annotations

import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

NAMES = ("torchvision", "torchaudio", "torchcodec")
CPU = "+cpu"


def hide() -> None:
    """Has each mismatched companion count as not installed, in this process from now on.

    Call it before transformers or vLLM are imported.
    """
    for name in mismatched():
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def mismatched() -> list[str]:
    """The companions that are installed for CUDA, if torch is a build for CPUs alone."""
    found = []
    if CPU in _version("torch"):
        found = [name for name in NAMES if (known := _version(name)) and CPU not in known]
    return found


def command(module: str) -> list[str]:
    """The command that runs a module as `python -m MODULE`, with mismatched companions hidden."""
    return [sys.executable, "-m", "esr_cli.base.companions", module]


def inspect_without(registry: Any) -> None:
    """Has vLLM's registry of models hide mismatched companions where it inspects a model.

    It does so in an interpreter of its own, by a command that it keeps for others to change.
    """
    if mismatched():
        registry._SUBPROCESS_COMMAND = command("vllm.model_executor.models.registry")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    hide()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
