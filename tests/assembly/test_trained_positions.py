"""The range of positions that a loss may train."""

from __future__ import annotations

import pytest
from conftest import read

from esr_cli.assembly.objective import trained_positions


@pytest.mark.parametrize(
    ("given", "trained"),
    [
        (("rollout_len=8",), (0, 8)),
        (("rollout_len=full", "loss=window", "loss.window_start=4", "loss.window_end=20"), (4, 20)),
        (("rollout_len=8", "loss=window", "loss.window_end=20"), (0, 8)),
        (("rollout_len=64", "loss=linear_weights", "loss.span_tokens=16"), (0, 16)),
        # Four steps of 16 responses: only the first stage; no response or one of full length.
        (("rollout_len=64", "lengths=steps", "lengths.stages=[[0,8],[4,32]]"), (0, 8)),
        (("rollout_len=8", "lengths.full_share=0.005"), (0, 8)),
        (("rollout_len=8", "lengths.full_share=0.02"), (0, 128)),
        (("rollout_len=full", "loss=top_reverse_kl"), None),
        (("rollout_len=full", "loss=confident"), None),
        (("rollout_len=full", "loss=last_tokens"), None),
        (("rollout_len=full", "loss=middle_tokens"), None),
    ],
)
def test_positions_that_the_loss_of_four_steps_may_train(given, trained):
    assert trained_positions(read(*given), 4) == trained
