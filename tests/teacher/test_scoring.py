"""What a teacher reads, and which of its states are scores."""

from __future__ import annotations

import torch
from conftest import SameIds

from esr_cli.teacher.scoring import Batch
from esr_cli.types import Prompt, Rollout


def batch(longest=None):
    asked = Prompt("p", "", (7, 7), (8, 8, 8))
    responses = [
        Rollout(asked, 0, ids, (0.0,) * len(ids), "length") for ids in [(1, 2, 3, 4), (5,)]
    ]
    return Batch.of(responses, SameIds(), longest)


def test_the_state_before_a_token_predicts_it():
    both = batch()
    assert both.sequences[0][:3] == (8, 8, 8) and both.sequences[0][3:6] == (1, 2, 3)
    states_LD = torch.arange(len(both.sequences[0])).float()[:, None]
    assert both.rows(0, states_LD)[:, 0].tolist() == [2, 3, 4, 5]


def test_what_is_beyond_the_longest_sequence_is_not_read_and_not_aligned():
    cut = batch(longest=5)
    assert [len(each) for each in cut.sequences] == [5, 4]
    rows = [cut.rows(at, torch.zeros(len(ids), 2)) for at, ids in enumerate(cut.sequences)]
    scores = cut.scores(rows)
    assert scores.aligned_R.tolist() == [True, True, True, False, True]
    assert batch(longest=7).scores(rows).aligned_R is None
