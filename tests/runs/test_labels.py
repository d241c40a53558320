"""Which trackers a run has, and its name, group and tags there."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError

import pytest
from conftest import read
from run_folders import settings

from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.runs import labels, service
from esr_cli.runs.saved import settings as saved_settings
from esr_cli.train import command


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


def test_a_list_of_trackers_is_chosen_and_each_setting_is_typed_without_a_plus(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_PROJECT", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    chosen = {
        given: (found.mode, found.tensorboard, found.trackio)
        for given in ("wandb", "tensorboard", "trackio", "none", "[wandb,tensorboard]", "[]")
        for found in [read(f"tracking={given}").tracking]
    }
    assert chosen == {
        "wandb": ("offline", False, False), "tensorboard": ("disabled", True, False),
        "trackio": ("disabled", False, True), "none": ("disabled", False, False),
        "[wandb,tensorboard]": ("offline", True, False), "[]": ("disabled", False, False),
    }  # fmt: skip
    typed = read("tracking=[tensorboard,wandb]", "tracking.mode=online", "tracking.project=mine")
    assert (typed.tracking.mode, typed.tracking.project) == ("online", "mine")
    assert read().tracking.mode == "offline"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["tracking=tensorboard", "tracking.model=true"], "tracking.model=true: only W&B and trac"),
        (
            ["tracking.space=me/runs"],
            "tracking.space=me/runs: give USER/NAME with tracking=trackio",
        ),
    ],
)
def test_what_no_chosen_tracker_can_do_is_refused(given, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(*given)


def test_a_tracker_that_is_not_installed_is_one_line_before_a_model_loads(tmp_path, monkeypatch):
    def missing(_):
        raise PackageNotFoundError

    monkeypatch.setattr(service, "version", missing)
    for name in ("tensorboard", "trackio"):
        expected = f'tracking={name}: it is not installed; pip install "esr-cli[{name}]"'
        with pytest.raises(ConfigError, match=re.escape(expected)):
            command.run(read(f"tracking={name}", "pair.student.path=/nowhere"), [])


def test_a_run_from_before_there_were_several_trackers_goes_on_in_w_and_b(tmp_path):
    saved = settings("+rollout_len=8")
    kept = ("mode", "entity", "project", "group", "name", "tags", "samples")
    for mode in ("offline", "disabled"):
        saved["tracking"] = {key: saved["tracking"][key] for key in kept} | {"mode": mode}
        gate.write_yaml(saved, tmp_path / "config.yaml")
        found = gate.typed(saved_settings(tmp_path), TrainConfig).tracking
        assert (found.mode, found.tensorboard, found.trackio) == (mode, False, False)
