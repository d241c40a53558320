"""What runs the teacher: vLLM installed, servers that serve the pair's teacher, its output head."""

from __future__ import annotations

import importlib.util

from esr_cli.assembly import teachers
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig) -> list[Finding]:
    """A finding for each server, and on the head of a teacher on vLLM; none for our own passes."""
    kind, topic = config.teacher.engine, "teacher"
    if kind == "local":
        return []
    if kind == "vllm" and importlib.util.find_spec("vllm") is None:
        said = "teacher=vllm: vLLM is not installed"
        return [Finding("error", topic, said, "run make setup, or give teacher=local")]
    try:
        untried = teachers.check_head(config)
        served = teachers.check_servers(config) if kind == "server" else []
    except ConfigError as error:
        return [Finding("error", topic, str(error))]
    found = [Finding("ok", topic, line) for line in served]
    return [*found, Finding("warning", "teacher's head", untried)] if untried else found
