"""Command lines that are not what was meant: one line with what was typed, and the remedy."""

from __future__ import annotations

import pytest
from conftest import esr
from hydra import compose, initialize_config_dir
from run_folders import write_run

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.runs import folder as run_folder


@pytest.mark.parametrize(("typed", "told"), [
    (["train", "loss.keep_token=3"], "loss.keep_token=3: no such setting; did you mean "),
    (["train", "+loss.keep_token=3"], "did you mean loss.keep_tokens?"),
    (["train", "los=top_reverse_kl"], "los=top_reverse_kl: no such setting; did you mean loss?"),
    (["train", "-m", "step=3,4"], "step=3: no such setting; did you mean steps?"),
    (["train", "benchmark.lab.sample=3"], "did you mean benchmark.lab.samples?"),
    (["train", "pair=qwen3_1p7b_qwen3_4b"], "; did you mean pair=qwen3_1p7b__qwen3_4b?"),
    (["report", "run=here"], "run=here: no such setting; did you mean runs?"),
    (["probe", "prob=decay"], "prob=decay: no such setting; did you mean probe?"),
    (["reproduce", "quik=true"], "quik=true: no such setting; did you mean quick?"),
    (["reprduce"], "reprduce: no such command; did you mean reproduce?"),
])  # fmt: skip
def test_a_misspelt_word_is_told_with_the_nearest(typed, told, tmp_path):
    done = esr(*typed, cwd=tmp_path)
    assert done.returncode == 2 and told in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def resumed(folder, *overrides):
    typed = [f"resume={folder}", *overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = gate.read(compose("train", overrides=typed), TrainConfig)
    return run_folder.reopen(config, typed)[0]


def test_a_group_typed_again_on_resuming_must_agree_in_every_setting(tmp_path):
    run = tmp_path / "run"
    write_run(run, "+rollout_len=8", "rollout=eager", "rollout.top_k=5", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    assert resumed(run, "loss=reverse_kl", "steps=50").steps == 50
    assert resumed(run, "rollout=eager", "rollout.top_k=5").rollout.max_tokens == 8
    with pytest.raises(ConfigError, match=r"^rollout=eager: .* rollout.top_k=5, not 0; drop it"):
        resumed(run, "rollout=eager")
    with pytest.raises(ConfigError, match=r"rollout.max_tokens=8, not 16"):
        resumed(run, "rollout=eager", "rollout.top_k=5", "rollout_len=16")


def test_a_model_typed_again_on_resuming_is_told_with_both_values(tmp_path):
    run = tmp_path / "run"
    write_run(run, "pair=qwen3_1p7b__qwen3_4b", "+rollout_len=8", right={0: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    typed = ("lm@pair.student=qwen3_4b", "pair=qwen3_1p7b__qwen3_4b")
    with pytest.raises(ConfigError, match=r"pair.student.path=Qwen/Qwen3-1.7B, not Qwen/Qwen3-4B"):
        resumed(run, *typed)


def test_an_option_that_is_no_name_is_one_line(tmp_path):
    done = esr("train", "loss=3", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "loss=3: no such option; there are confident, " in done.stderr


def test_one_rollout_length_of_a_bench_needs_no_brackets(tmp_path):
    for given, says in (
        ("lengths=0", "lengths=0: give a positive"),
        ("lengths=9999", "lengths=9999: stay"),
    ):
        done = esr("bench", given, cwd=tmp_path)
        assert done.returncode == 2 and says in done.stderr, done.stderr
