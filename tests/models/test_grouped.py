"""Rows of a prompt and several responses: what is seen, at which position, and how they divide."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from esr_cli.models import grouped
from esr_cli.models.loading import hidden_states

ROWS = [((10, 11, 12), [(20, 21, 22), (30,), (40, 41)]), ((13, 14), [(50, 51)])]


def test_a_response_sees_its_prompt_and_itself_at_positions_of_its_own():
    batch = grouped.collate(ROWS, "cpu")
    assert batch.input_ids_BL.tolist() == [[10, 11, 12, 20, 21, 40], [13, 14, 50, 0, 0, 0]]
    assert batch.positions_BL.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 0, 0, 0]]
    # The first token of every response is predicted by the last of the prompt.
    assert batch.picks_R.tolist() == [2, 3, 4, 2, 2, 5, 7, 8]
    mask = batch.masks({"": None}, torch.float32)
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]
    # No token sees padding, and padding sees itself: a row without any key would be NaN.
    assert (mask[1, 0, :3, 3:] < 0).all() and (mask[1, 0].amax(-1) == 0).all()


def test_a_window_counts_positions_and_not_slots():
    masks = grouped.collate(ROWS, "cpu").masks({"full": None, "sliding": 2}, torch.float32)
    assert (masks["sliding"][0, 0, 5] == 0).tolist() == [False, False, True, False, False, True]
    assert (masks["full"][0, 0, 5] == 0).sum() == 4


def test_an_empty_response_has_no_states():
    batch = grouped.collate([((1, 2), [(), (3, 4)])], "cpu")
    assert batch.picks_R.tolist() == [1, 2]
    assert batch.input_ids_BL.shape[1] == grouped.length(2, [0, 2]) == 3


def test_rows_divide_where_attention_would_cost_more_than_the_prompt():
    short, long = [30] * 8, [300] * 8
    assert grouped.parts(500, short, 10**6, 8, 1000.0) == [list(range(8))]
    # Responses ten times as long as their prompt.
    assert len(grouped.parts(30, long, 10**6, 8, 10.0)) == 8
    for lengths in (short, long, [5, 90, 1, 40]):
        for budget, most in ((10**6, 3), (700, 8), (1, 8)):
            rows = grouped.parts(200, lengths, budget, most, 1e9)
            assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
            for row in rows:
                assert len(row) <= most
                count = grouped.length(200, [lengths[i] for i in row])
                assert count <= budget or len(row) == 1


def test_models_that_such_rows_do_not_fit_are_found_out():
    """ALiBi counts slots, Bloom takes no positions, a recurrent layer reads on from row to row."""
    small = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    for kind, more, fits in (
        ("llama", heads, True),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4}, True),
        ("falcon", heads | {"alibi": True}, False),
        ("bloom", {"n_head": 4, "n_layer": 2}, False),
        ("mamba", {"state_size": 8}, False),
    ):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **small | more)).eval()

        def read(ids, model=model, **rest):
            return hidden_states(model, ids, **rest)

        assert grouped.agrees(model, read) == fits, kind
