"""Responses side by side, with the KL of each token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esr_cli.base.words import counted
from esr_cli.probe.analyses.reads import Rows


@dataclass(frozen=True)
class Sample:
    """One response to one question; `kl` is NaN at tokens that were not compared."""

    id: str
    who: str
    prompt: str
    response: str
    tokens: tuple[str, ...]
    kl: np.ndarray
    correct: bool
    reason: str


def rows(samples: list[Sample]) -> Rows:
    """One row per response, in the given order."""
    return [
        vars(each) | {
            "tokens": list(each.tokens),
            "kl": [round(kl, 4) if np.isfinite(kl) else None for kl in each.kl.tolist()],
        }
        for each in samples
    ]  # fmt: skip


def headline(found: Rows) -> str:
    """The numbers of responses and questions, in one line."""
    return (
        f"{counted(len(found), 'response')} to {counted(len({r['id'] for r in found}), 'question')}"
    )
