"""Weights of a remote engine: sent once, shared afterwards, and restored after a restart."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from esr_cli.execution.remote import RemoteEngine, RestorableEngine
from esr_cli.execution.worker import place


class Echo:
    """An engine whose rollouts are its weights."""

    def load_weights(self, weights):
        """Stores copies, as an engine does."""
        self.held = {name: tensor.clone() for name, tensor in weights.items()}

    def generate(self, prompts, sampling):
        """The stored weights."""
        return self.held


def build_echo():
    return RestorableEngine(Echo())


@pytest.fixture(params=["inline", "process"])
def worker(request):
    options = {"restarts": 1, "remember": ("load_weights",)} if request.param == "process" else {}
    made = place(request.param, "engine", build_echo, {}, **options)
    yield made
    made.close()


def test_the_engine_sees_an_update_without_sending_the_weights_again(worker):
    engine, weights = RemoteEngine(worker), {"w": torch.zeros(3), "v": torch.ones(2)}
    for value in (1.0, 2.0, 3.0):
        weights["w"].fill_(value)
        engine.load_weights(weights)
        assert engine.generate([], None)["w"].tolist() == [value] * 3
    # Another tensor under the same name is sent.
    engine.load_weights({"w": torch.full((3,), 9.0), "v": weights["v"]})
    assert engine.generate([], None)["w"].tolist() == [9.0] * 3


def test_a_restarted_engine_sees_the_present_weights():
    worker = place("process", "engine", build_echo, {}, restarts=1, remember=("load_weights",),
                   warn=lambda _: None)  # fmt: skip
    engine, weights = RemoteEngine(worker), {"w": torch.zeros(3)}
    engine.load_weights(weights)
    os.kill(worker.pid, signal.SIGKILL)
    weights["w"].fill_(5.0)
    engine.load_weights(weights)
    assert engine.generate([], None)["w"].tolist() == [5.0] * 3
    worker.close()
