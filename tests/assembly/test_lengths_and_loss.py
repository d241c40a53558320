"""The response lengths and the loss that follow from the settings."""

from __future__ import annotations

from conftest import read

from esr_cli.assembly import objective
from esr_cli.distill.shared import Shared


def test_lengths_and_objective_follow_the_settings():
    config = read("lengths=mixture", "loss=top_kl_entropies", "loss.keep_tokens=7", "seed=5")
    lengths = objective.lengths_of(config)
    assert lengths.full_share == 1 / 16 and lengths.full == 128 and lengths.seed == 5
    configured = objective.objective_of(config, Shared(108))
    assert configured.rule.keep == 7 and configured.rule.by == (
        "reverse_kl", "teacher_entropy", "student_entropy",
    )  # fmt: skip
    growing = objective.lengths_of(read("lengths=linear", "+rollout_len=64"))
    assert growing.n_at(0) == 8 and growing.n_at(20) == 64
