"""vLLM over several GPUs of one machine: it then runs its model in processes, one for each."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from esr_cli.base import process

# The exit status of an engine that has lost one of its processes.
LOST = 1


@contextmanager
def starting(count: int) -> Iterator[dict[str, Any]]:
    """The options with which vLLM splits a model over `count` processes, if there are several.

    Start vLLM in the block: on a CPU each process gets its share of the threads of this one.
    """
    if count == 1:
        yield {}
        return
    # Within Ray, vLLM would by itself take other actors.
    options = {"tensor_parallel_size": count, "distributed_executor_backend": "mp"}
    before = os.environ.get("OMP_NUM_THREADS")
    if not torch.cuda.is_available():
        os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // count))
        # By default vLLM binds each process to a NUMA node, and fails with fewer nodes.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        yield options
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


def attach(llm: Any) -> None:
    """Has the processes of a started engine, if any, end with this process and not before it."""
    if not _processes(llm):
        return
    llm.collective_rpc(_attached, args=(os.getpid(),))
    # Earlier than multiprocessing, which would wait for them.
    atexit.register(end, llm)


def _attached(_: Any, parent: int) -> None:
    process.end_with(parent)
    # Ctrl-C and SIGTERM may reach every process of a run, and only the trainer handles them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def attended(llm: Any) -> Iterator[None]:
    """Ends this process if a call to an engine fails as one of the engine's processes has died.

    Such an engine cannot be used again; who started this process can restart it.
    """
    try:
        yield
    except Exception:
        if any(not each.proc.is_alive() for each in _processes(llm)):
            os._exit(LOST)
        raise


def end(llm: Any) -> None:
    """Ends the processes of an engine, if any."""
    if _processes(llm):
        llm.llm_engine.model_executor.shutdown()


def _processes(llm: Any) -> list[Any]:
    """vLLM's handles of an engine's processes; none if its model is in this process."""
    return getattr(llm.llm_engine.model_executor, "workers", [])
