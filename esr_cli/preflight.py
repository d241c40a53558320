"""What can be known to fail before any model loads, said in one line each."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from esr_cli.config import ConfigError, TrainConfig
from esr_cli.models import loading
from esr_cli.types import Prompt


def check_models(config: TrainConfig) -> tuple[Any, Any]:
    """Student's and teacher's tokenizers; raises `ConfigError` where a model cannot be used."""
    for role in ("student", "teacher"):
        _check_path(f"pair.{role}.path", getattr(config.pair, role).path)
    if config.rollout.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ConfigError("rollout=vllm: vLLM is not installed; run make setup, or rollout=eager")
    student = _tokenizer(config, "student")
    teacher = _tokenizer(config, "teacher")
    _check_same_map(student, teacher)
    if student.eos_token_id is None:
        raise ConfigError("pair.student.path: its tokenizer names no end-of-text token")
    return student, teacher


def check_prompts(config: TrainConfig, prompts: list[Prompt]) -> None:
    """Raises `ConfigError` where a prompt and its response would not fit the context."""
    longest = max(max(len(p.student_ids), len(p.teacher_ids)) for p in prompts)
    response = max(config.rollout_tokens, config.pair.max_response_tokens)
    if longest + response > config.pair.context_tokens:
        raise ConfigError(
            f"pair.context_tokens={config.pair.context_tokens}: prompts of {longest} tokens leave "
            f"no room for {response}; lower rollout_len or pair.max_response_tokens"
        )


def _check_path(key: str, path: str) -> None:
    folder = Path(loading.resolve(path))
    if not folder.exists():
        # A hub id is `owner/name`; anything else was meant as a folder.
        if path.count("/") == 1 and not path.startswith((".", "/", "~")):
            return
        raise ConfigError(f"{key}={path}: no such folder; give a model folder or a hub id")
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not (folder / "config.json").is_file() or not weights:
        raise ConfigError(f"{key}={path}: holds no model (config.json and weights are needed)")


def _tokenizer(config: TrainConfig, role: str) -> Any:
    model = getattr(config.pair, role)
    try:
        return loading.load_tokenizer(model.path, model.revision)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"pair.{role}.path={model.path}: no tokenizer there ({reason})") from None


def _check_same_map(student: Any, teacher: Any) -> None:
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    for token, number in sorted(ours.items(), key=lambda item: item[1]):
        if theirs.get(token) != number:
            raise ConfigError(
                f"pair.teacher.path: token {token!r} is {number} for the student and "
                f"{theirs.get(token)} for the teacher; choose a pair with the same tokenizer"
            )
