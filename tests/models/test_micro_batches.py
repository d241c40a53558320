"""Which sequences share a padded batch."""

import pytest
import torch

from esr_cli.models import batching


def test_micro_batches_hold_all_sequences_within_the_budget():
    lengths = [7, 30, 1, 12, 12, 90, 4]
    groups = batching.micro_batches(lengths, 40, 2048)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 40


def test_micro_batches_of_different_lengths_have_little_padding():
    lengths = [200 + 50 * i for i in range(17)]
    groups = batching.micro_batches(lengths, 16384, 2048)
    padded = sum(len(group) * max(lengths[i] for i in group) for group in groups)
    assert sorted(i for group in groups for i in group) == list(range(17))
    assert padded < 1.15 * sum(lengths) and len(groups) < 8
    # A few tokens stay in one batch whatever the padding.
    assert len(batching.micro_batches([100, 50, 10], 16384, 2048)) == 1


def test_a_larger_model_uses_a_device_well_with_fewer_tokens():
    wide = {96: 2048, 192: 700_000_000 // (4 * 192**2 * 9), 512: 256}
    for width, tokens in wide.items():
        model = torch.nn.Linear(width, 36 * width, bias=False)
        model.device = torch.device("cpu")
        assert batching.enough_tokens(model) == pytest.approx(tokens, abs=1)
    model.device = torch.device("cuda")
    assert batching.enough_tokens(model) == batching.ENOUGH_ON_GPU
