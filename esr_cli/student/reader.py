"""The student's forward pass over rollouts, in which responses to one prompt share its tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from esr_cli.models import batching, grouped, loading
from esr_cli.student.after_prompts import AfterPrompts
from esr_cli.types import Prompt, Rollout


class Reader:
    """Reads rollouts in rows, each a prompt and one or more responses to it (`models.grouped`).

    `splits` is whether the states before the output head give the model's logits. `shares` is
    whether a row may have several responses; only if the model agrees with plain rows. Without
    `prompt_gradient` each prompt is read first, without gradient. Raises `ConfigError` if the
    model's states are then others.
    """

    def __init__(self, model: Any, prompt_gradient: bool = True) -> None:
        self.splits = loading.head_agrees(model, loading.head_of(model))
        # What computes `hidden_BLD` of `input_ids_BL`; another once ranks share the model.
        self.states: Callable[..., torch.Tensor] = partial(loading.hidden_states, model)
        self._model, self._dtype = model, model.dtype
        self._shape = model.config.get_text_config()
        self.shares = grouped.agrees(model, self._read) and grouped.kind_agrees(model)
        self._after = None if prompt_gradient else AfterPrompts(model, self.splits)

    def rows(self, rollouts: list[Rollout], budget_tokens: int, most: int) -> list[list[int]]:
        """The rollouts of each row by number, see `grouped.parts`."""
        # After prompts that are read first, each response is a row of its own.
        if self._after or not self.shares:
            return [[i] for i in range(len(rollouts))]
        of_prompt: dict[tuple[Any, ...], list[int]] = {}
        for i, rollout in enumerate(rollouts):
            prompt = rollout.prompt
            key = prompt.id, prompt.student_ids, prompt.before_ids, prompt.teacher
            of_prompt.setdefault(key, []).append(i)
        cost = grouped.pairs_per_token(self._shape)
        return [
            [own[at] for at in part]
            for own in of_prompt.values()
            for part in grouped.parts(
                len(rollouts[own[0]].prompt.trained_ids),
                [len(rollouts[i].response_ids) for i in own], budget_tokens, most, cost,
            )
        ]  # fmt: skip

    def read(
        self, rows: list[list[Rollout]], ids_of: Callable[[Prompt], tuple[int, ...]]
    ) -> torch.Tensor:
        """`states_RX` of the rows' rollouts end to end; `ids_of` what is read before a response.

        Hidden states, or logits if the head does not split.
        """
        if self._after:
            asked = [ids_of(row[0].prompt) for row in rows for _ in row]
            return self._after.rows(asked, [each.response_ids for row in rows for each in row])
        made = [(ids_of(row[0].prompt), [each.response_ids for each in row]) for row in rows]
        windows = grouped.windows_of(self._shape)
        if windows is not None and any(len(responses) > 1 for _, responses in made):
            batch = grouped.collate(made, self._model.device)
            return grouped.states(batch, windows, self._dtype, self._read)
        # The fastest kernels take no mask.
        sequences = [batching.inputs(ids, responses[0]) for ids, responses in made]
        return batching.response_rows(
            self._read(batching.pad(sequences, self._model.device)),
            [len(ids) for ids, _ in made], [len(responses[0]) for _, responses in made],
        )  # fmt: skip

    def _read(self, input_ids_BL: torch.Tensor, **more: Any) -> torch.Tensor:
        if self.splits:
            return self.states(input_ids_BL, **more)
        return self._model(input_ids=input_ids_BL, use_cache=False, **more).logits
