"""Checks the files of a model folder before anything loads: they may be damaged or hostile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from esr_cli.base import hub, process, reading
from esr_cli.base.failures import brief
from esr_cli.config import ConfigError, ModelConfig
from esr_cli.config.needed import hub_id
from esr_cli.models import heads, loading
from esr_cli.tasks.chat import PROBE, Chat

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
# Larger files hold vocabularies and merges, which their own readers parse.
MOST_SETTINGS_BYTES = 1 << 22
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
# CPU time and memory of rendering one question.
TEMPLATE_S, TEMPLATE_GIB = 2, 2
MOST_TEMPLATE_BYTES = 1 << 20


def check(key: str, model: ModelConfig, need_weights: bool) -> None:
    """Raises `ConfigError` if a folder holds no model, or one that cannot be read."""
    path, folder = model.path, Path(loading.resolve(model.path))
    if model.chat_template:
        _template(key, model.chat_template)
    if not folder.exists():
        if hub_id(path):
            hub.need_model(key, path, model.revision, need_weights)
            return
        remedy = f"make it: {model.made_by}" if model.made_by else "give a model folder or a hub id"
        raise ConfigError(f"{key}={path}: no such folder; {remedy}")
    if not folder.is_dir():
        raise ConfigError(f"{key}={path}: is no folder; give a model folder or a hub id")
    _check_entries(key, path, folder)
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not (folder / "config.json").is_file() or (need_weights and not weights):
        raise ConfigError(f"{key}={path}: holds no model (config.json and weights are needed)")
    for file in weights:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "pt") as opened:
                    opened.keys()
            except (SafetensorError, OSError) as error:
                raise ConfigError(_damaged(key, path, file.name, error)) from None
    try:
        shape = loading.load_shape(path, model.revision, model.trust_remote_code)
    except Exception as error:  # the files are third-party
        raise ConfigError(_damaged(key, path, "config.json", error)) from None
    if wrong := heads.problem(folder, shape):
        raise ConfigError(f"{key}={path}: {wrong}")


def tokenizer(key: str, model: ModelConfig) -> Any:
    """The tokenizer, with its chat template; raises `ConfigError` if either cannot be used."""
    folder = Path(loading.resolve(model.path))
    # Without these files transformers silently builds an empty tokenizer.
    if folder.is_dir() and not any(next(folder.glob(name), None) for name in TOKENIZERS):
        raise ConfigError(f"{key}={model.path}: holds no tokenizer; copy tokenizer.json there")
    try:
        loaded = loading.load_tokenizer(model.path, model.revision, model.trust_remote_code)
    except Exception as error:  # the files are third-party
        reason = brief(error)
        raise ConfigError(
            f"{key}={model.path}: no tokenizer there ({reason}); give a folder, or a hub id and a "
            "network"
        ) from None
    if model.chat_template:
        loaded.chat_template = _template(key, model.chat_template)
    if loaded.chat_template:
        problem = process.beyond(lambda: _render(loaded, model), TEMPLATE_S, TEMPLATE_GIB)
        if problem:
            raise ConfigError(
                f"{key}={model.path}: its chat template takes {problem} to render one question; "
                "give another chat_template"
            )
    return loaded


def check_ids(key: str, model: ModelConfig, loaded: Any) -> None:
    """Raises `ConfigError` if the tokenizer has ids for which the model has no embedding."""
    rows = loading.load_shape(model.path, model.revision, model.trust_remote_code).vocab_size
    token, last = max(loaded.get_vocab().items(), key=lambda each: each[1])
    if last >= rows:
        raise ConfigError(
            f"{key}={model.path}: its tokenizer has an id {last} ({token!r}), but the model only "
            f"{rows} embeddings; copy all its tokenizer files, or set pair.alignment=text"
        )


def end_ids(key: str, model: ModelConfig) -> tuple[int, ...]:
    """The end-of-text ids in generation_config.json; raises `ConfigError` if it is damaged."""
    try:
        ids = loading.end_ids(model.path, model.revision)
        if all(isinstance(each, int) for each in ids):
            return ids
        raise TypeError(f"eos_token_id is {list(ids)}")
    except Exception as error:  # the files are third-party
        raise ConfigError(_damaged(key, model.path, "generation_config.json", error)) from None


def _check_entries(key: str, path: str, folder: Path) -> None:
    """A pipe or a device would wait forever, and broken settings raise anything."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry.suffix in (".json", ".safetensors", ".jinja"):
                raise ConfigError(f"{key}={path}: {entry.name} is a folder, not a file")
            continue
        try:
            with reading.open_file(entry) as file:
                size = file.seek(0, os.SEEK_END)
            if entry.suffix == ".json" and size <= MOST_SETTINGS_BYTES:
                settings = reading.parse(reading.text(entry))
                if entry.name in SETTINGS and not isinstance(settings, dict):
                    raise ConfigError("it holds no settings")
        except (ConfigError, reading.BrokenError, OSError) as error:  # a link may lead anywhere
            reason = ValueError(str(error).removeprefix(f"{entry}: "))
            raise ConfigError(_damaged(key, path, entry.name, reason)) from None


def _render(loaded: Any, model: ModelConfig) -> None:
    chat = Chat.of(loaded, model)
    # What the template raises is reported with the question that it refuses.
    chat.render(PROBE, ())


def _template(key: str, name: str) -> str:
    try:
        return reading.text(Path(name).expanduser(), MOST_TEMPLATE_BYTES)
    except ConfigError as error:
        where = f"{key.removesuffix('.path')}.chat_template={name}"
        raise ConfigError(f"{where}: cannot be read ({error}); give a jinja file") from None


def _damaged(key: str, path: str, name: str, error: Exception) -> str:
    return f"{key}={path}: {name} cannot be read ({brief(error)}); copy the model again"
