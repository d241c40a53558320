"""Models of a given shape with random weights, for a dry run of a pair without a download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from esr_cli.base import files, hub
from esr_cli.config import ConfigError, ModelConfig
from esr_cli.config.errors import did_you_mean
from esr_cli.models import loading
from esr_cli.models.qwen import RANKS, qwen_tokenizer

Model = TypeVar("Model", bound=ModelConfig)


def build(
    key: str, model: Model, dtype: str, seed: int, data_dir: str | None, weights: bool = True
) -> Model:
    """Returns `model` with its path replaced by a local folder of random weights.

    The folder is cached below `files.cache_dir()` and reused for the same shape, dtype
    and seed. Without `weights` it holds everything else, which suffices for `esr check`. Raises
    `ConfigError` if the shape or the tokenizer is missing.
    """
    shape = shape_of(key, model)
    identity = {"shape": model.shape, "path": model.path, "family": model.family}
    # The same seed gives different numbers on CUDA.
    identity |= {"device": "cuda"} if torch.cuda.is_available() else {}
    name = files.hash_of(identity | {"dtype": dtype, "seed": seed})
    folder = files.cache_dir() / ("random" if weights else "outlines") / name
    if not folder.is_dir():
        tokenizer = _tokenizer(key, model, data_dir)

        def write(target: Path) -> None:
            """Writes the files of the model folder."""
            if weights:
                torch.manual_seed(seed)
                with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
                    network = AutoModelForCausalLM.from_config(shape, dtype=getattr(torch, dtype))
                network.save_pretrained(target)
                del network
                torch.cuda.empty_cache()
            else:
                shape.save_pretrained(target)
                GenerationConfig.from_model_config(shape).save_pretrained(target)
            tokenizer.save_pretrained(target)

        files.write_folder(folder, write)
    return replace(model, path=str(folder), revision=None)


def shape_of(key: str, model: ModelConfig) -> Any:
    """The transformers configuration of `model.shape`; raises `ConfigError` if it is invalid."""
    wanted = dict(model.shape)
    if not wanted:
        raise ConfigError(
            f"{key}.shape={{}}: pair.weights=random needs a shape; choose another pair"
        )
    kind = wanted.pop("model_type", "")
    try:
        default = AutoConfig.for_model(kind).to_dict()
    except ValueError:
        raise ConfigError(f"{key}.shape.model_type={kind}: unknown to transformers") from None
    for name, value in wanted.items():
        if name not in default:
            hint = did_you_mean(name, default) or f"{kind} has no such setting"
            raise ConfigError(f"{key}.shape.{name}={value}: no such setting; {hint}")
    try:
        return AutoConfig.for_model(kind, **wanted)
    except Exception as error:  # each architecture validates its values differently
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"{key}.shape: {kind} cannot be built from it ({reason})") from None


def _tokenizer(key: str, model: ModelConfig, data_dir: str | None) -> Any:
    ranks = files.find_data(RANKS, data_dir)
    if model.family and ranks:
        return qwen_tokenizer(ranks, model.family)
    if not Path(loading.resolve(model.path)).exists():
        hub.out_of_reach()  # else the libraries would retry
    try:
        return loading.load_tokenizer(model.path, model.revision, model.trust_remote_code)
    except (OSError, ValueError) as error:
        also = f", or put {RANKS} into data_dir" if model.family else ""
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{key}.path={model.path}: no tokenizer there ({reason}); connect to a network{also}"
        ) from None
