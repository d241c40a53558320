"""What happens while the main process has not imported its heavy modules yet: missing files are
reported, and the worker processes of a command start.
"""

from __future__ import annotations

from esr_cli.config import EvalConfig, TrainConfig, needed
from esr_cli.config.errors import need_folder
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


def check(config: TrainConfig | EvalConfig) -> None:
    """Raises `ConfigError` for files that cannot be had, see `needed.need`.

    On resume only for the folder, since the saved settings may differ, and not for a dry run, which
    lists all errors.
    """
    if resume := getattr(config, "resume", None):
        need_folder("resume", resume, "name that of a saved run")
    elif not getattr(config, "dry_run", False):
        needed.need(config)


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
