"""A failing peer for tests of the bench. Its process imports this module, and not transformers."""

from __future__ import annotations

import os


def step_row(seconds, longest, generate=0.25):
    return {
        "seconds": {"step": seconds, "generate": generate}, "floor": {"step": 0.5}, "tokens": 10,
        "longest": longest, "gib": {"trainer": seconds},
    }  # fmt: skip


class FailingPeer:
    """A peer that fails in the method named by `FAILS_IN`; it logs each construction to `made`."""

    def __init__(self, config, folder, steps, vllm, prompt_tokens) -> None:
        self.fails_in = os.environ["FAILS_IN"]
        with open("made", "a") as file:
            file.write("made\n")
        self._fail("start")

    def _fail(self, place: str) -> None:
        if place == self.fails_in:
            raise MemoryError("the card is full")

    def loss(self, _) -> float:
        self._fail("loss")
        return 1.0

    def step(self, *_) -> dict:
        self._fail("step")
        return step_row(1.0, 8)

    def close(self) -> None:
        """Nothing to close."""


class FailingEngine:
    """Our loop on an engine, but its steps fail."""

    def __init__(self, **_) -> None:
        pass

    def measure_ceilings(self) -> None:
        """Measures nothing."""

    def step(self, *_) -> dict:
        raise MemoryError("the card is full")
