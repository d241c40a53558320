"""What runs the teacher: vLLM installed, servers that serve the pair's teacher, its output head."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from esr_cli.assembly import model_folder, several_teachers, teachers, templates
from esr_cli.assembly.pairing import Pairing
from esr_cli.check import compatibility
from esr_cli.config import ConfigError, TrainConfig, teacher_key
from esr_cli.config.finding import Finding
from esr_cli.types import Prompt


def role_of(name: str) -> str:
    """What a teacher is called: `teacher`, and `teacher NAME` for a further one."""
    return f"teacher {name}" if name else "teacher"


def findings(config: TrainConfig) -> list[Finding]:
    """A finding for each server, and on the head of a teacher on vLLM; none for our own passes."""
    kind, topic = config.teacher.engine, "teacher"
    if kind == "local":
        return []
    if kind == "vllm" and importlib.util.find_spec("vllm") is None:
        said = "teacher=vllm: vLLM is not installed"
        return [Finding("error", topic, said, "run make setup, or give teacher=local")]
    found, key = [], "pair.teacher"
    try:
        for name, own in several_teachers.each(config).items():
            key = teacher_key(name)
            untried = teachers.check_head(own)
            served = teachers.check_servers(own) if kind == "server" else []
            found += [Finding("ok", topic, line) for line in served]
            found += [Finding("warning", "teacher's head", untried)] if untried else []
    except ConfigError as error:
        return [Finding("error", topic, _keyed(str(error), key))]
    return found


def of_others(config: TrainConfig, pairing: Pairing, shown: list[Prompt]) -> list[Finding]:
    """What is checked of the pair's teacher in any run, for its further teachers."""
    found = []
    for name, other in pairing.others.items():
        pair, role = config.of_teacher(name).pair, role_of(name)
        key, model = teacher_key(name), pair.teacher
        tokenizer = model_folder.tokenizer(f"{key}.path", model)
        own = [each for each in shown if each.teacher == name]
        for each in compatibility.prompts(pair, own, tokenizer):
            said, remedy = (_keyed(part, key) for part in (each.said, each.remedy))
            found.append(replace(each, said=said, remedy=remedy))
        found.append(
            templates.ends(role, key, model, tokenizer, other.teacher_ends, "pair.stop_tokens")
        )
        found += templates.dated(role, key, tokenizer)
    return found


def _keyed(text: str, key: str) -> str:
    """A text on the only teacher of a run as one on the teacher `key`."""
    return text.replace("pair.teacher.", f"{key}.")
