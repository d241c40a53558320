"""Starts the worker processes of a command early, while the main process still imports."""

from __future__ import annotations

from esr_cli.config import EvalConfig, TrainConfig
from esr_cli.execution import processes

# esr_cli.rollout.vllm sets variables that vLLM reads on import, so it comes first.
ENGINE_MODULES = {
    "eager": ("esr_cli.rollout.eager",),
    "vllm": ("esr_cli.rollout.vllm", "vllm.entrypoints.llm"),
}


def launch(config: TrainConfig | EvalConfig) -> None:
    """Prelaunches the workers of a run or an evaluation.

    Does nothing on resume, where the saved settings may differ, or if no model is needed.
    """
    if getattr(config, "resume", None) or getattr(config, "generations", None):
        return
    if config.execution.engine == "process":
        processes.prelaunch("engine", *ENGINE_MODULES[config.rollout.engine])
    if isinstance(config, TrainConfig) and config.execution.teacher == "process":
        processes.prelaunch("teacher", "esr_cli.teacher.teacher")
