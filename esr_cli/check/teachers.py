"""What runs the teacher: vLLM installed, servers that answer and serve the pair's teacher."""

from __future__ import annotations

import importlib.util

from esr_cli.assembly import teachers
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig) -> list[Finding]:
    """A finding for each server, or one on vLLM; none for our own passes."""
    kind, topic = config.teacher.engine, "teacher"
    if kind == "vllm" and importlib.util.find_spec("vllm") is None:
        said = "teacher=vllm: vLLM is not installed"
        return [Finding("error", topic, said, "run make setup, or give teacher=local")]
    if kind != "server":
        return []
    try:
        return [Finding("ok", topic, line) for line in teachers.check_servers(config)]
    except ConfigError as error:
        return [Finding("error", topic, str(error))]
