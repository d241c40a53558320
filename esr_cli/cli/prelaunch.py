"""The processes that a command is sure to need, launched while this one still imports."""

from __future__ import annotations

from esr_cli.config import EvalConfig, TrainConfig
from esr_cli.execution import processes

# vLLM's part sets what vLLM reads as it is imported, and so comes first.
OF_ENGINE = {
    "eager": ("esr_cli.rollout.eager",),
    "vllm": ("esr_cli.rollout.vllm", "vllm.entrypoints.llm"),
}


def launch(config: TrainConfig | EvalConfig) -> None:
    """For a run or an evaluation as configured; not where other settings may count, or no model."""
    if getattr(config, "resume", None) or getattr(config, "generations", None):
        return
    if config.execution.engine == "process":
        processes.prelaunch("engine", *OF_ENGINE[config.rollout.engine])
    if isinstance(config, TrainConfig) and config.execution.teacher == "process":
        processes.prelaunch("teacher", "esr_cli.teacher.teacher")
