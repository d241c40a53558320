"""Keeps what other libraries overwrite: random states and the CUDA stream."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def preserved() -> Iterator[None]:
    """Restores the random states and the CUDA stream, which starting a vLLM engine overwrites."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with ExitStack() as kept:
        kept.enter_context(torch.random.fork_rng(devices))
        if devices:
            kept.enter_context(torch.cuda.stream(torch.cuda.current_stream()))
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
