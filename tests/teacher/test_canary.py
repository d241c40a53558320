"""The canary: rounding passes, other states do not."""

from __future__ import annotations

import pytest
import torch

from esr_cli.teacher.canary import TOKENS, Canary, CanaryError


def test_its_tokens_are_spread_over_the_vocabulary():
    ids = Canary(151_936, "bfloat16").ids
    assert len(ids) == TOKENS and ids[0] == 0 and ids[-1] == 151_935
    assert list(ids) == sorted(set(ids))
    assert max(Canary(5, "float32").ids) == 4


def test_rounding_passes_and_is_told():
    canary, states_LD = Canary(108, "float32"), torch.randn(TOKENS, 8)
    canary.check(states_LD)
    assert canary.take() == 0
    canary.check(states_LD * (1 + 1e-5))
    canary.check(states_LD)
    assert 0 < canary.take() < 2e-5 and canary.take() == 0


def test_a_resumed_run_knows_the_first_states(tmp_path):
    file, states_LD = tmp_path / "canary", torch.randn(TOKENS, 8)
    Canary(108, "float32", file).check(states_LD)
    Canary(108, "float32", file).check(states_LD)
    with pytest.raises(CanaryError, match=r"differ by .* of their norm from the first"):
        Canary(108, "float32", file).check(states_LD * 1.01)
    file.write_bytes(b"no")
    with pytest.raises(CanaryError, match=r"cannot be read .*; delete it"):
        Canary(108, "float32", file).check(states_LD)


@pytest.mark.parametrize("changed", [
    lambda states: states + 0.1, lambda states: states * torch.nan, lambda states: states[:-1],
], ids=["other", "nan", "short"])  # fmt: skip
def test_other_states_are_refused(changed):
    canary, states_LD = Canary(108, "float32"), torch.randn(TOKENS, 8)
    canary.check(states_LD)
    with pytest.raises(CanaryError):
        canary.check(changed(states_LD))


def test_a_16_bit_teacher_may_round_more():
    canary, states_LD = Canary(108, "bfloat16"), torch.randn(TOKENS, 8)
    canary.check(states_LD)
    canary.check(states_LD.bfloat16())
    assert canary.take() < 0.01
