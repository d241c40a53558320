"""Responses side by side, a KL a token: what there is to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esr_cli.probe.analyses.reads import Rows


@dataclass(frozen=True)
class Sample:
    """One response to one question; `kl` is NaN where the two models were not compared."""

    id: str
    who: str
    prompt: str
    response: str
    tokens: tuple[str, ...]
    kl: np.ndarray
    correct: bool
    reason: str


def rows(samples: list[Sample]) -> Rows:
    """A row a response, in the order given."""
    return [
        vars(each) | {
            "tokens": list(each.tokens),
            "kl": [round(kl, 4) if np.isfinite(kl) else None for kl in each.kl.tolist()],
        }
        for each in samples
    ]  # fmt: skip


def headline(found: Rows) -> str:
    """How many there are, in a line."""
    return f"{len(found)} responses to {len({each['id'] for each in found})} questions"
