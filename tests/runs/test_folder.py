"""Run folders: their names, and the settings that a resumed run may change."""

from __future__ import annotations

import pytest
from conftest import read
from hydra import compose, initialize_config_dir
from run_folders import write_run

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.runs import folder as run_folder


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["+rollout_len=64"], "rollout_len=64"),
        (["seed=1", "+rollout_len=64", "tracking=none", "strict=true"], "rollout_len=64,seed=1"),
        (["pair.student.path=/a/b"], "pair.student.path=-a-b"),
        (["teacher=server", "teacher.urls=[http://a:1]", "teacher.in_flight=2"], "teacher=server"),
    ],
)
def test_a_run_folder_is_named_after_its_overrides(overrides, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(run_folder.path_of(read(*overrides), overrides)) == f"runs/lab/{name}"


def test_long_folder_names_are_shortened_and_stay_unique():
    long = [f"benchmark.lab.chain_length={i}" for i in range(20)]
    name = run_folder.name_of(long)
    assert len(name) < 150 and name != run_folder.name_of(long[1:])


def resumed(folder, *overrides):
    typed = [f"resume={folder}", *overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = gate.read(compose("train", overrides=typed), TrainConfig)
    return run_folder.reopen(config, typed)


def test_a_group_given_on_resume_must_agree_in_every_setting(tmp_path):
    run = tmp_path / "run"
    write_run(run, "+rollout_len=8", "rollout=eager", "rollout.top_k=5", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    assert resumed(run, "loss=reverse_kl", "steps=50").steps == 50
    assert resumed(run, "rollout=eager", "rollout.top_k=5").rollout.max_tokens == 8
    with pytest.raises(ConfigError, match=r"^rollout=eager: .* rollout.top_k=5, not 0; drop it"):
        resumed(run, "rollout=eager")
    with pytest.raises(ConfigError, match=r"rollout.max_tokens=8, not 16"):
        resumed(run, "rollout=eager", "rollout.top_k=5", "rollout_len=16")


def test_what_the_engines_get_is_resolved_once(tmp_path):
    run = tmp_path / "run"
    write_run(run, "+rollout_len=8", "rollout=eager", "rollout.weights=merged", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    for given in ((), ("rollout=eager",), ("rollout.weights=auto",), ("execution=ray",)):
        assert resumed(run, *given).rollout.weights == "merged"


def test_a_run_may_resume_with_other_servers_of_its_teacher(tmp_path):
    run, here, there = tmp_path / "run", "teacher.urls=[http://a:1]", "teacher.urls=[http://b:1]"
    write_run(run, "+rollout_len=8", "teacher=server", here, right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    assert resumed(run, there).teacher.urls == ["http://b:1"]
    assert resumed(run, "teacher=server", there).teacher.urls == ["http://b:1"]
    assert resumed(run).teacher.urls == ["http://a:1"]
    with pytest.raises(ConfigError, match=r"teacher.engine=server, not local"):
        resumed(run, "teacher=local")
    with pytest.raises(ConfigError, match=r"teacher.wire=bfloat16: the saved run has auto"):
        resumed(run, "teacher.wire=bfloat16")


def test_settings_that_change_no_result_may_be_given_on_resume(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = tmp_path / "run"
    write_run(run, "tracking=none", "+rollout_len=8", "rollout=eager", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    assert resumed(run).tracking.mode == "disabled"
    given = ("tracking=wandb", "tracking.project=mine", "execution.device=cpu", "strict=true")
    config = resumed(run, *given, "save_every=3", "keep_checkpoints=1", "data_dir=elsewhere")
    assert (config.tracking.mode, config.tracking.project) == ("offline", "mine")
    assert (config.execution.device, config.data_dir, config.strict) == ("cpu", "elsewhere", True)
    assert (config.save_every, config.keep_checkpoints, config.rollout.engine) == (3, 1, "eager")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert resumed(run).tracking.mode == "disabled"
    with pytest.raises(ConfigError, match=r"tracking.mode=no"):
        resumed(run, "tracking.mode=no")
    with pytest.raises(ConfigError, match=r"eval_every=1: the saved run has 0"):
        resumed(run, "tracking=wandb", "eval_every=1")


def test_a_repeated_sweep_gives_its_resumed_runs_what_may_differ():
    asked = ["seed=1", "tracking=none", "+tracking.tags=[a]", "save_every=5", "+rollout_len=8"]
    assert run_folder.free_on_resume(asked) == asked[1:4]


def test_wandb_s_mode_is_read_anew_on_resume(tmp_path, monkeypatch):
    run = tmp_path / "run"
    write_run(run, "+rollout_len=8", "rollout=eager", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    for mode in ("online", "disabled", "offline"):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert resumed(run).tracking.mode == mode
    assert resumed(run, "tracking.mode=online").tracking.mode == "online"


def test_with_stale_rollouts_save_every_changes_the_result(tmp_path):
    run = tmp_path / "run"
    write_run(run, "+rollout_len=8", "rollout=eager", "rollout.staleness=1", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    assert resumed(run, "save_every=10").save_every == 10
    with pytest.raises(ConfigError, match=r"save_every=5: .*staleness"):
        resumed(run, "save_every=5")


def test_the_error_for_another_model_on_resume_has_both_values(tmp_path):
    run = tmp_path / "run"
    write_run(run, "pair=qwen3_1p7b__qwen3_4b", "+rollout_len=8", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    typed = ("lm@pair.student=qwen3_4b", "pair=qwen3_1p7b__qwen3_4b")
    with pytest.raises(ConfigError, match=r"pair.student.path=Qwen/Qwen3-1.7B, not Qwen/Qwen3-4B"):
        resumed(run, *typed)


def test_shortening_a_name_keeps_the_varied_settings():
    path = "pair.student.path=" + "x" * 200
    names = [
        run_folder.name_of([path, f"zz_seed={n}", "steps=3"], varied=["zz_seed"]) for n in (0, 1)
    ]
    assert [name.split(",")[0] for name in names] == ["zz_seed=0", "zz_seed=1"]
    assert all("steps=3" in name and len(name) < 140 for name in names)
