"""What `pair.adapt` changes when a run begins, and what `pair=own` brings that was not given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from esr_cli.assembly import model_folder, preflight
from esr_cli.base.failures import brief
from esr_cli.config import ConfigError, ModelConfig, TrainConfig, needed
from esr_cli.config.errors import LARGEST
from esr_cli.models import loading

Config = TypeVar("Config", bound=TrainConfig)


def begun(config: Config, overrides: list[str], new: bool) -> tuple[Config, list[str]]:
    """The settings with which a run begins, and notes on what was chosen or changed.

    A run that resumes keeps its settings. Raises `ConfigError` at once if files are missing.
    """
    config, notes = available(config, overrides) if new else (config, [])
    for _, check in needed.file_checks(config):
        check()
    if not new:
        return config, notes
    config, more = fitted(config, overrides)
    return config, [brought(config, overrides), *notes, *more]


def available(config: Config, overrides: Iterable[str]) -> tuple[Config, list[str]]:
    """With `pair.adapt`, the settings of a new run without those benchmarks of the recipe whose
    data cannot be had, and a note on each. Benchmarks that were given stay.
    """
    notes: list[str] = []
    if not config.pair.adapt or _given("benchmark", overrides):
        return config, notes
    chosen = dict(config.benchmark)
    for name, each in config.benchmark.items():
        try:
            needed.need_files(name, each, config.data_dir)
        except ConfigError as error:
            del chosen[name]
            notes.append(f"benchmark={name} is left out, as its data is not here ({error})")
    return replace(config, benchmark=chosen), notes


def fitted(config: Config, overrides: Iterable[str]) -> tuple[Config, list[str]]:
    """With `pair.adapt`, the settings of a new run with a context of at most that of each model.

    Where it is lowered, so are the limits of responses beyond it: to half of it. A note says what
    changed. Raises `ConfigError` if a model cannot be read.
    """
    pair = config.pair
    if not pair.adapt or pair.weights == "random":
        return config, []
    models = preflight.named(pair)
    for key, model in models.items():
        model_folder.check(key, model, need_weights=False)
    limits = {key: _limit(key, model) for key, model in models.items()}
    key = min(limits, key=lambda each: limits[each])
    lowest, response, chosen = limits[key], pair.max_response_tokens, dict(config.benchmark)
    if lowest >= pair.context_tokens:
        return config, []
    notes = [f"pair.context_tokens={pair.context_tokens}: lowered to {lowest}, the limit of {key}"]
    if response >= lowest:
        notes.append(f"pair.max_response_tokens={response}: lowered to {lowest // 2}")
        response = lowest // 2
    given = _given("benchmark", overrides)
    for name, each in config.benchmark.items():
        if each.max_tokens >= lowest and not given:
            chosen[name] = replace(each, max_tokens=lowest // 2)
            notes.append(f"benchmark.{name}.max_tokens={each.max_tokens}: lowered to {lowest // 2}")
    lowered = replace(pair, context_tokens=lowest, max_response_tokens=response)
    return replace(config, pair=lowered, benchmark=chosen), notes


def brought(config: TrainConfig, overrides: Iterable[str]) -> str:
    """What `pair=own` chose, as it was not given; empty for other pairs and if all was given."""
    if config.pair.name != "own":
        return ""
    overrides, tune = list(overrides), config.tune
    settings = {
        "task": config.task.name,
        "benchmark": ",".join(config.benchmark) or "none",
        "tune": f"{tune.method} (rank {tune.rank})" if tune.method == "lora" else tune.method,
        "tune.learning_rate": f"{tune.learning_rate:g}",
    }
    for key in ("steps", "prompts_per_step", "rollouts_per_prompt", "eval_every", "save_every"):
        settings[key] = str(getattr(config, key))
    chosen = [f"{key}={value}" for key, value in settings.items() if not _given(key, overrides)]
    return f"pair=own brings what is not given: {', '.join(chosen)}" if chosen else ""


def _limit(key: str, model: ModelConfig) -> int:
    """The context length of a model; unlimited if its configuration has none."""
    try:
        shape = loading.load_shape(model.path, model.revision, model.trust_remote_code)
    except Exception as error:  # the files are third-party
        raise ConfigError(f"{key}={model.path}: config.json: {brief(error)}") from None
    limit = getattr(shape, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 1 else LARGEST


def _given(key: str, overrides: Iterable[str]) -> bool:
    """Whether the command line sets a setting or group, or a part of it."""
    keys = (text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides)
    return any(each == key or each.startswith(f"{key}.") for each in keys)
