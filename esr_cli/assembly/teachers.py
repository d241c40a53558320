"""Places the teacher: our own passes or vLLM in a worker, or a client of vLLM servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from esr_cli.assembly import seats
from esr_cli.assembly.pairing import Pairing
from esr_cli.assembly.patience import patience
from esr_cli.config import ConfigError, ModelConfig, TrainConfig
from esr_cli.execution.scoring import Teachers
from esr_cli.execution.seat import Seat
from esr_cli.execution.several import place_role
from esr_cli.models import loading, outlines
from esr_cli.teacher.canary import Canary
from esr_cli.teacher.servers import KEY, Served, ServerError, Servers

T = TypeVar("T")
GIB = 2**30
_DESCRIBED: dict[tuple[str, ...], dict[str, Served]] = {}


def build(kind: str, settings: dict[str, Any], seat: Seat) -> Any:
    """Builds the teacher in its own process."""
    seat.take()
    if kind == "local":
        from esr_cli.teacher.teacher import Teacher

        return Teacher(**settings, device=seat.device)
    from esr_cli.models import head_file
    from esr_cli.teacher.states_teacher import StatesTeacher

    head = settings["head"]
    return StatesTeacher(
        _source(kind, settings["source"]), partial(head_file.load, **head), settings["reader"],
        head["dtype"], settings["longest"],
    )  # fmt: skip


def _source(kind: str, settings: dict[str, Any]) -> Any:
    if kind == "vllm":
        from esr_cli.teacher.vllm_states import VllmStates

        return VllmStates(**settings)
    return Servers(**settings)


def place_teachers(
    config: TrainConfig, dtype: str, pairing: Pairing, folder: Path, warn: Callable[[str], None],
    chosen: Sequence[Seat], canary: Path | None = None, first: int = 0, early: bool = False,
) -> Teachers:  # fmt: skip
    """The teachers as workers on the `chosen` seats, not started yet, numbered from `first` on.

    With `early` they score some responses before all are sampled. The output of each goes to a log.
    The first states of the canary are kept in the file `canary`, for a run that is resumed.
    """
    model, execution, kind = config.pair.teacher, config.execution, config.teacher.engine
    settings: dict[str, Any] = {"reader": pairing.reader}
    if kind == "local":
        settings |= {
            "path": model.path, "dtype": dtype, "revision": model.revision,
            "columns": pairing.columns,
            "micro_batch_tokens": config.tune.micro_batch_tokens,
            "trust_remote_code": model.trust_remote_code, "compiled": config.tune.compile,
            "prompt_cache": int(config.teacher.prompt_cache_gib * GIB),
        }  # fmt: skip
    else:
        settings["head"] = {
            "path": model.path, "skeleton": outlines.skeleton(model), "columns": pairing.columns,
            "dtype": dtype, "revision": model.revision,
        }  # fmt: skip
        settings["longest"] = config.pair.context_tokens
        if kind == "server":
            settings["source"] = server_settings(config, dtype, canary) | {"warn": warn}
        else:
            settings["source"] = _vllm_settings(config, dtype, canary)
    # A client of servers only waits for them.
    where = "thread" if kind == "server" else execution.teacher
    waits = patience(execution, model, execution.teacher_device)
    seats.need_free(execution, chosen)
    placed = place_role(
        "teacher", where, build, {"kind": kind, "settings": settings}, chosen, folder,
        first=first, restarts=execution.restarts, warn=warn, patience=waits,
    )  # fmt: skip
    return Teachers(placed, early)


def _vllm_settings(config: TrainConfig, dtype: str, file: Path | None) -> dict[str, Any]:
    """The arguments of `VllmStates`."""
    model, engine = config.pair.teacher, config.teacher
    config_of = loading.load_config(model.path, model.revision, model.trust_remote_code)
    return {
        "path": loading.resolve(model.path), "dtype": dtype,
        "canary": _canary(config, dtype, file),
        "revision": model.revision, "trust_remote_code": model.trust_remote_code,
        "max_model_len": config.pair.context_tokens,
        "max_sequences": config.rollout.max_sequences,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "tensor_parallel": engine.tensor_parallel, "quantization": engine.quantization,
        "quantized": hasattr(config_of, "quantization_config"),
    }  # fmt: skip


def server_settings(config: TrainConfig, dtype: str, file: Path | None = None) -> dict[str, Any]:
    """The arguments of `Servers`."""
    engine = config.teacher
    wire = engine.wire if engine.wire != "auto" else dtype
    coarser = "bfloat16" if "bfloat16" in (dtype, wire) else wire
    return {
        "urls": engine.urls, "key": os.environ.get(KEY, ""), "wire": wire,
        "timeout_s": engine.timeout_s, "patience_s": engine.patience_s,
        "in_flight": engine.in_flight, "canary": _canary(config, coarser, file),
    }  # fmt: skip


def _canary(config: TrainConfig, dtype: str, file: Path | None) -> Canary:
    model = config.pair.teacher
    shape = loading.load_shape(model.path, model.revision, model.trust_remote_code)
    # The run folder is that of the driver alone, which a worker on Ray may not see.
    far = config.execution.teacher == "ray" and config.teacher.engine == "vllm"
    return Canary(shape.vocab_size, dtype, None if far else file)


def check_head(config: TrainConfig) -> str:
    """A warning if the teacher's head could not be tried; raises `ConfigError` if it is no use.

    Its states come from elsewhere, so its logits must be a projection of them, which stands in the
    model's files.
    """
    from esr_cli.models import head_file

    model = config.pair.teacher
    if config.pair.weights == "random":
        raise ConfigError(
            f"teacher={config.teacher.engine}: pair.weights=random has no teacher on disk; give "
            "teacher=local"
        )
    skeleton = outlines.skeleton(model)
    try:
        head_file.find(model.path, skeleton, model.revision)
    except head_file.HeadError as error:
        raise ConfigError(f"pair.teacher.path={error}, or teacher=local") from None
    plain = head_file.is_plain(skeleton.config, model.trust_remote_code)
    if plain is False:
        raise ConfigError(
            f"pair.teacher.path={model.path}: its logits are not the projection of its states "
            "that its files hold; give teacher=local"
        )
    untried = "its output head could not be tried on a small model of its kind"
    return "" if plain else f"pair.teacher.path={model.path}: {untried}"


def check_servers(config: TrainConfig) -> list[str]:
    """A line for each server, which serves the pair's teacher; else raises `ConfigError`."""
    return list(_of_servers(config, partial(_check, config)).values())


def describe_servers(config: TrainConfig) -> dict[str, Served]:
    """What each of `teacher.urls` serves; raises `ConfigError` if one does not tell.

    It is asked once: a server that fails later is waited for.
    """
    urls = tuple(config.teacher.urls)
    if urls not in _DESCRIBED:
        _DESCRIBED[urls] = _of_servers(config, Servers.describe)
    return _DESCRIBED[urls]


def _of_servers(config: TrainConfig, ask: Callable[[Servers, str], T]) -> dict[str, T]:
    device = loading.pick_device(config.execution.device)
    dtype = loading.pick_dtype(config.pair.dtype, device)
    servers = Servers(**server_settings(config, dtype))
    try:
        return {url: ask(servers, url) for url in servers.urls}
    except ServerError as error:
        raise ConfigError(str(error)) from None
    finally:
        servers.close()


def is_served(model: ModelConfig, served: Served) -> bool:
    """Whether a server serves the model, by the last part of its path or name."""
    return bool({_last(served.model), _last(served.root)} & {model.path, _last(model.path)})


def _last(path: str) -> str:
    """The last part of a path or hub id; a name of the package's own is one part."""
    return path.rstrip("/").rpartition("/")[2]


def _check(config: TrainConfig, servers: Servers, url: str) -> str:
    found, pair = servers.describe(url), config.pair
    if found.max_model_len < pair.context_tokens:
        raise ConfigError(
            f"teacher.urls={url}: reads {found.max_model_len} tokens, pair.context_tokens="
            f"{pair.context_tokens}; start it with --max-model-len {pair.context_tokens}"
        )
    model = pair.teacher
    if not is_served(model, found):
        raise ConfigError(
            f"teacher.urls={url}: serves {found.model}, not pair.teacher.path={model.path}; if it "
            f"is that model, start it with --served-model-name {model.path}"
        )
    shape = loading.load_shape(model.path, model.revision, model.trust_remote_code)
    states_LD, *_ = servers.states_at(url, [[0, 0]])
    # In another batch the canary must stay what it was.
    servers.states_at(url, [[0] * each for each in (3, 20, 9)])
    width = states_LD.shape[-1]
    if width != shape.hidden_size:
        raise ConfigError(
            f"teacher.urls={url}: serves {found.root}, whose states have {width} numbers, and "
            f"pair.teacher.path={model.path} has {shape.hidden_size}; serve that model"
        )
    version = f" by vLLM {found.version}" if found.version else ""
    return f"{url}: {found.root}{version}, up to {found.max_model_len} tokens"
