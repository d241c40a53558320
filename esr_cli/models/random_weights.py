"""Models of a given shape with random weights: a dry run of a pair that is not downloaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from esr_cli.base import files
from esr_cli.config import ConfigError, ModelConfig
from esr_cli.config.errors import did_you_mean
from esr_cli.models import loading
from esr_cli.models.qwen import RANKS, qwen_tokenizer


def build(
    key: str, model: ModelConfig, dtype: str, seed: int, data_dir: str | None, weights: bool = True
) -> ModelConfig:
    """`model` with a local folder of random weights in place of its path.

    The folder is kept below ~/.cache/esr (or ESR_CACHE) and used again for the same shape, dtype
    and seed. Without `weights` it holds all but these, enough for `esr check`. Raises
    `ConfigError` where the shape or the tokenizer is missing.
    """
    shape = shape_of(key, model)
    drawn = {"shape": model.shape, "path": model.path, "family": model.family}
    # The same seed gives other numbers there.
    drawn |= {"device": "cuda"} if torch.cuda.is_available() else {}
    name = files.hash_of(drawn | {"dtype": dtype, "seed": seed})
    cache = Path(os.environ.get("ESR_CACHE", "~/.cache/esr")).expanduser()
    folder = cache / ("random" if weights else "outlines") / name
    if not folder.is_dir():
        tokenizer = _tokenizer(key, model, data_dir)

        def write(target: Path) -> None:
            """All of the model's folder."""
            if weights:
                torch.manual_seed(seed)
                with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
                    made = AutoModelForCausalLM.from_config(shape, dtype=getattr(torch, dtype))
                made.save_pretrained(target)
                del made
                torch.cuda.empty_cache()
            else:
                shape.save_pretrained(target)
                GenerationConfig.from_model_config(shape).save_pretrained(target)
            tokenizer.save_pretrained(target)

        files.write_folder(folder, write)
    return replace(model, path=str(folder), revision=None)


def shape_of(key: str, model: ModelConfig) -> Any:
    """The transformers configuration of `model.shape`; raises `ConfigError` where it is none."""
    wanted = dict(model.shape)
    if not wanted:
        raise ConfigError(
            f"{key}.shape={{}}: pair.weights=random needs a shape; choose another pair"
        )
    kind = wanted.pop("model_type", "")
    try:
        default = AutoConfig.for_model(kind).to_dict()
    except ValueError:
        raise ConfigError(f"{key}.shape.model_type={kind}: transformers knows no such") from None
    for name, value in wanted.items():
        if name not in default:
            hint = did_you_mean(name, default) or f"it is no setting of {kind}"
            raise ConfigError(f"{key}.shape.{name}={value}: no such setting; {hint}")
    try:
        return AutoConfig.for_model(kind, **wanted)
    except Exception as error:  # each architecture checks its values in a way of its own
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"{key}.shape: {kind} cannot be made of it ({reason})") from None


def _tokenizer(key: str, model: ModelConfig, data_dir: str | None) -> Any:
    ranks = files.find_data(RANKS, data_dir)
    if model.family and ranks:
        return qwen_tokenizer(ranks, model.family)
    try:
        return loading.load_tokenizer(model.path, model.revision, model.trust_remote_code)
    except (OSError, ValueError) as error:
        also = f", or put {RANKS} into data_dir" if model.family else ""
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{key}.path={model.path}: no tokenizer there ({reason}); connect to a network{also}"
        ) from None
