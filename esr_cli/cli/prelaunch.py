"""Starts the worker processes of a command early, while the main process still imports."""

from __future__ import annotations

from esr_cli.config import EvalConfig, TrainConfig
from esr_cli.execution import processes

# esr_cli.rollout.vllm sets variables that vLLM reads on import, so it comes first.
ENGINE_MODULES = {
    "eager": ("esr_cli.rollout.eager",),
    "vllm": ("esr_cli.rollout.vllm", "vllm.entrypoints.llm"),
}
# A client of servers runs in the trainer's process.
TEACHER_MODULES: dict[str, tuple[str, ...]] = {
    "local": ("esr_cli.teacher.teacher",),
    "vllm": ("esr_cli.teacher.vllm_states", "vllm.entrypoints.llm"),
    "server": (),
}


def launch(config: TrainConfig | EvalConfig) -> None:
    """Prelaunches the workers of a run or an evaluation.

    Does nothing on resume, where the saved settings may differ, or if no model is needed.
    """
    if getattr(config, "resume", None) or getattr(config, "generations", None):
        return
    if config.execution.engine == "process":
        processes.prelaunch("engine", *ENGINE_MODULES[config.rollout.engine])
    if not isinstance(config, TrainConfig) or config.execution.teacher != "process":
        return
    if modules := TEACHER_MODULES[config.teacher.engine]:
        processes.prelaunch("teacher", *modules)
