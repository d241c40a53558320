"""Names, groups and tags of runs in their trackers."""

from __future__ import annotations

import pytest
from conftest import read

from esr_cli.runs import labels


@pytest.mark.parametrize(
    ("given", "varied", "name"),
    [
        (["+rollout_len=64"], [], "lab N=64 s0"),
        (["+rollout_len=full", "seed=2", "steps=3"], [], "lab N=full s2"),
        (["+rollout_len=8", "loss=forward_kl"], [], "lab N=8 loss=forward_kl s0"),
        (["+rollout_len=8", "loss=top_entropies"], ["loss=top_entropies"],
         "lab N=8 loss=top_entropies s0"),
        (["+rollout_len=8", "loss=top_entropies"], [], "lab N=8 tokens=top s0"),
        (["+rollout_len=8", "tune=lab_lora", "tune.learning_rate=1e-4"],
         ["tune.learning_rate=1e-4", "seed=0", "+rollout_len=8", "tune=lab_lora"],
         "lab N=8 learning_rate=1e-4 tune=lab_lora s0"),
    ],
)  # fmt: skip
def test_a_name_has_pair_length_what_is_unusual_or_varied_and_seed(given, varied, name):
    assert labels.name(read(*given), varied) == name


def test_tags_have_their_labels_and_what_is_typed_is_kept():
    config = read("+rollout_len=full", "tracking.tags=[mine]", "tracking.name=my run")
    shown = labels.labelled(config)
    assert shown.name == "my run" and labels.labelled(read("+rollout_len=8")).name == "lab N=8 s0"
    assert {"N=full", "tune=full", "loss=reverse_kl", "pair=lab", "mine"} <= set(shown.tags)


def test_what_w_and_b_would_refuse_as_too_long_is_cut_and_stays_distinct():
    pairs = [f"pair.name={'x' * 200}{end}" for end in "ab"]
    shown = [labels.labelled(read("+rollout_len=8", pair)) for pair in pairs]
    assert shown[0].name != shown[1].name and all(len(each.name) <= 128 for each in shown)
    assert all(0 < len(tag) <= 64 for each in shown for tag in each.tags)


def test_runs_of_a_sweep_share_a_group_named_after_what_they_share():
    config = read("+rollout_len=8", "seed=1", "task=words", "tracking.name=null")
    asked = ["rollout_len=8", "seed=1", "task=words"]
    shown = labels.in_sweep(config, asked, ["rollout_len", "seed"], "rollout_len=8,16,seed=0,1")
    assert shown == {"group": "lab words rollout_len=8,16,seed=0,1", "name": "lab N=8 s1"}
    shown = labels.in_sweep(config, ["pair=lab", "task=words"], ["pair", "task"], "pair=lab,own")
    assert shown == {"group": "pair=lab,own", "name": "lab N=8 task=words s1"}
    own = read("+rollout_len=8", "tracking.group=ours", "tracking.name=mine")
    assert labels.in_sweep(own, [], [], "sweep") == {"group": "ours", "name": "mine"}
