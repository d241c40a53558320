"""`esr teacher serve`: starts a stock vLLM server whose answers are the teacher's exact states."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from typing import Any

import httpx

from esr_cli.base import companions, process
from esr_cli.base.failures import Failure
from esr_cli.config import ConfigError, TeacherServeConfig
from esr_cli.models import loading
from esr_cli.teacher.guard import SERVED_KEY
from esr_cli.teacher.servers import KEY

LOOK_S = 0.5
# Hosts that stand for every address of this machine.
ANY = ("0.0.0.0", "::")


def run(config: TeacherServeConfig, overrides: list[str]) -> None:
    """Serves until Ctrl-C; raises `ConfigError` before the server starts, `Failure` if it dies."""
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError("esr teacher serve: vLLM is not installed; run make setup")
    if config.pair.weights == "random":
        raise ConfigError(
            "pair.weights=random: a server needs a model; save one, and name its folder"
        )
    need_free(config.host, config.port)
    # A server that is killed leaves its workers behind, which hold the GPU.
    process.adopt_orphans()
    signal.signal(signal.SIGTERM, _interrupted)
    server = subprocess.Popen(command(config), env={**os.environ, **environment()})
    try:
        _wait(config, server)
        print(f"the teacher is ready; train with\n  {line(config, overrides)}", flush=True)
        status = server.wait()
    finally:
        process.kill_descendants()
    raise Failure(f"the server ended with status {status}; its last output is above")


def _interrupted(number: int, _: Any) -> None:
    raise KeyboardInterrupt


def command(config: TeacherServeConfig) -> list[str]:
    """The command of the server."""
    teacher, device = config.pair.teacher, loading.pick_device("auto")
    pooler = json.dumps({"task": "token_embed", "use_activation": False})
    longest = config.max_model_len or config.pair.context_tokens
    options: dict[str, Any] = {
        "model": loading.resolve(teacher.path), "served-model-name": teacher.path,
        "runner": "pooling", "pooler-config": pooler, "max-model-len": longest,
        "max-num-batched-tokens": max(8192, longest), "max-num-seqs": config.sequences,
        "dtype": loading.pick_dtype(config.pair.dtype, device),
        "host": config.host, "port": config.port,
        "tensor-parallel-size": config.tensor_parallel,
        "quantization": config.quantization, "revision": teacher.revision,
        "gpu-memory-utilization": config.gpu_memory_utilization,
    }  # fmt: skip
    given = (f"--{name}={value}" for name, value in options.items() if value is not None)
    # A cached state is not returned again, and a prompt is read in one piece.
    whole = ["--no-enable-prefix-caching", "--no-enable-chunked-prefill"]
    trusted = ["--trust-remote-code"] if teacher.trust_remote_code else []
    guarded = ["--middleware=esr_cli.teacher.guard.Guard"] if os.environ.get(KEY) else []
    server = companions.command("vllm.entrypoints.openai.api_server")
    return [*server, *given, *whole, *trusted, *guarded]


def environment() -> dict[str, str]:
    """What the server reads from its environment; the key is on no command line, which all see."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    found = {name: value for name, value in wanted.items() if name not in os.environ}
    key = os.environ.get(KEY)
    return {**found, SERVED_KEY: key} if key else found


def need_free(host: str, port: int) -> None:
    """Raises `ConfigError` if the port is taken, or the host is not of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            where = f"host={host} port={port}"
            raise ConfigError(
                f"{where}: cannot listen there ({error.strerror}); give another"
            ) from None


def line(config: TeacherServeConfig, overrides: list[str]) -> str:
    """The command that trains with this server, for a shell."""
    host = socket.gethostname() if config.host in ANY else config.host
    host = f"[{host}]" if ":" in host else host
    pair = [each for each in overrides if each.lstrip("+").startswith("pair")]
    address = f"teacher.urls=[http://{host}:{config.port}]"
    return " ".join(["esr train", *map(shlex.quote, pair), "teacher=server", address])


def _wait(config: TeacherServeConfig, server: subprocess.Popen[bytes]) -> None:
    """Waits until the server answers."""
    host = "localhost" if config.host in ANY else config.host
    host = f"[{host}]" if ":" in host else host
    while server.poll() is None:
        try:
            if httpx.get(f"http://{host}:{config.port}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(LOOK_S)
    raise Failure(f"the server did not start (status {server.returncode}); its output is above")
