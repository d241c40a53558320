"""An engine of vLLM whose model is split over two processes, in place of two GPUs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from test_adapter import ALPHA, RANK, change, tuning  # noqa: F401
from test_rollout import MASKED, PROMPTS, SAMPLING, perturbed, reference_gap

from esr_cli.assembly.workers import build_engine
from esr_cli.base import process
from esr_cli.execution.restarting import DiedError
from esr_cli.execution.seat import Seat
from esr_cli.execution.several import Engines
from esr_cli.execution.worker import place
from esr_cli.types import Adapter, Sampling


def ended(pid):
    """Whether a process has ended, perhaps without having been waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def split(tiny_pair):
    """Makes the engine, as runs do in a process of its own."""
    pytest.importorskip("vllm")
    made = []

    def start(adapter=None):
        settings = {
            "path": str(tiny_pair / "student"), "dtype": "float32", "max_model_len": 512,
            "max_sequences": 32, "masked_ids": MASKED, "adapter": adapter, "tensor_parallel": 2,
        }  # fmt: skip
        built = {"kind": "vllm", "settings": settings, "seat": Seat(threads=2)}
        made.append(Engines([place("process", "engine", build_engine, built)]))
        made[0].start()
        return made[0]

    yield start
    for engine in made:
        engine.close()


def test_each_process_loads_its_share_and_masks_tokens(split, tiny_pair):
    engine = split()
    model, weights = perturbed(tiny_pair / "student")
    for _ in range(2):
        engine.load_weights(weights)
        assert reference_gap(model, engine.generate(PROMPTS, SAMPLING), 0.7) < 1e-4
        with torch.no_grad():  # the embedding is the output head as well
            for parameter in model.parameters():
                parameter.mul_(1.1)
    hot = {"temperature": 1.5, "samples": 2, "seed": 3}
    shared, free = (
        {token for each in engine.generate(PROMPTS, one) for token in each.response_ids}
        for one in (Sampling(30, shared_only=True, **hot), Sampling(30, **hot))
    )
    assert not shared & set(MASKED) and free & set(MASKED)
    # If one process dies, the engine ends: its own process and the other one.
    [worker] = engine.workers
    children = process.descendants(worker.pid)
    assert len(children) >= 2
    os.kill(children[-1], signal.SIGKILL)
    with pytest.raises(DiedError, match="the engine's process died"):
        engine.generate(PROMPTS, SAMPLING)
    ends_by = time.monotonic() + 20
    while not all(map(ended, children)):
        assert time.monotonic() < ends_by, "a process outlives its engine"
        time.sleep(0.1)


def test_each_process_loads_the_adapter(split, tuning):  # noqa: F811
    engine = split(Adapter(RANK, ALPHA))
    for _ in range(2):
        engine.load_weights(tuning.factors())
        found = engine.generate(PROMPTS, SAMPLING)
        assert reference_gap(tuning.model, found, SAMPLING.temperature) < 1e-4
        change(tuning)
