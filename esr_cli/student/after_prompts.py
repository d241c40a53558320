"""The states of responses after prompts that are read without gradient (tune.prompt_gradient)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from esr_cli.config import ConfigError
from esr_cli.models.continued import Continued, Ids, called


class AfterPrompts:
    """Reads each prompt of a micro-batch once, without gradient, and its responses after it.

    The last token of a prompt is read with the response: its state predicts the first token.
    `model` returns logits unless its head `splits`. Raises `ConfigError` if its states after kept
    prompts differ from those of one pass.
    """

    def __init__(self, model: Any, splits: bool) -> None:
        self._reads = Continued(model, partial(called, model, splits))
        if not self._reads.agrees():
            raise ConfigError(
                "tune.prompt_gradient=false: this student computes other states after prompts that "
                "are read first; leave it out"
            )

    def rows(self, prompts: list[Ids], responses: list[Ids]) -> torch.Tensor:
        """`states_RX`: the states that predict the response tokens, sequence by sequence."""
        distinct = list(dict.fromkeys(prompts))
        kept = dict(zip(distinct, self._reads.read(distinct), strict=True))
        states_BLX = self._reads.after(prompts, kept, [ids[:-1] for ids in responses])
        pairs = zip(states_BLX, responses, strict=True)
        return torch.cat([states_LX[: len(ids)] for states_LX, ids in pairs])
