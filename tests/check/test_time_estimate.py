"""The time estimate of `esr check`: its sums by hand, and a trial on this machine."""

import json

import pytest
from conftest import read
from transformers import AutoConfig

from esr_cli.assembly.data import make_task
from esr_cli.assembly.examiner import Asked
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.check import slim, trial
from esr_cli.check.estimate import (
    estimate,
    evaluations,
    finding,
    generation,
    lengths,
    watching,
    words,
)
from esr_cli.check.trial import Trial
from esr_cli.check.vllm_time import on_vllm
from esr_cli.models import outlines
from esr_cli.models.loading import load_tokenizer
from esr_cli.types import Prompt

UNIT = Trial(
    read=1.0, decode=10.0, decode_row=2.0, decode_context=0.5, score=3.0, train=5.0,
    train_fixed=100.0, sync=7.0,
)  # fmt: skip


def test_the_seconds_of_a_step_are_sums_over_its_tokens():
    config = read("+rollout_len=11", "prompts_per_step=2", "rollouts_per_prompt=3", "steps=4")
    prompt = Prompt("0", "", (1,) * 20, (1,) * 30)
    found = estimate(config, UNIT, [prompt], {"lab": Asked((20,) * 5, 2, 3)})
    decoded = 10 * (10 + 6 * (2 + 0.5 * (20 + 11 / 2)))
    assert found.step == {
        "generate": pytest.approx(2 * 20 + decoded), "score": 6 * 41 * 3.0,
        "train": 100 + 6 * 31 * 5.0, "sync": 7.0,
    }  # fmt: skip
    assert found.evaluation["lab"] == 5 * 20 + 2 * (10 + 10 * (2 + 0.5 * 21.5))
    assert found.evaluations == 2 and found.training_s == 4 * sum(found.step.values())


def test_an_evaluation_is_decoded_in_batches_of_max_sequences():
    config = read("rollout.max_sequences=4", "+rollout_len=16")
    asked = Asked((20,) * 5, 2, 2)
    token = [10 + rows * (2 + 0.5 * 21) for rows in (4, 4, 2)]
    assert generation(config, UNIT, asked) == 100 + sum(token)


def test_evaluations_and_lengths_follow_the_settings_of_the_run():
    assert evaluations(read("steps=40", "+rollout_len=8")) == 2
    assert evaluations(read("steps=40", "eval_every=10", "+rollout_len=8")) == 5
    assert evaluations(read("steps=41", "eval_every=10", "+rollout_len=8")) == 6
    mixed = read("+rollout_len=8", "lengths.full_share=0.25", "prompts_per_step=4")
    assert lengths(mixed) == (128, (3 * 8 + 128) / 4)


def test_an_evaluation_that_outweighs_the_training_is_a_warning_that_names_ways_out():
    config = read("+rollout_len=32", "steps=40", "eval_every=10", "rollout.max_sequences=8")
    quick = Trial(1e-5, 0.05, 1e-3, 0.0, 1e-5, 1e-5, 0.0, 0.0)
    prompts = [Prompt("0", "", (1,) * 20, (1,) * 20)]
    asked = {"gsm8k": Asked((150,) * 500, 4, 1024)}
    found = finding(estimate(config, quick, prompts, asked), asked)
    assert found.status == "warning" and "100% of the run" in found.text
    for part in ("500 questions x 4 samples x 1024 tokens, 5 times", "limit=50", "eval_every",
                 "benchmark.gsm8k.max_tokens"):  # fmt: skip
        assert part in found.text
    few = {"gsm8k": Asked((150,) * 4, 1, 32)}
    assert finding(estimate(config, quick, prompts, few), few).status == "ok"


def test_watches_are_estimated_where_rollouts_are_cut():
    def seconds(*given):
        return watching(read("rollout.max_sequences=16", *given), UNIT, 20, training_s=10_000.0)

    one = generation(read("+rollout_len=8"), UNIT, Asked((20,) * 16, 1, 128))
    assert seconds("+rollout_len=full") == seconds("+rollout_len=8", "watch.every=0") == 0.0
    assert seconds("+rollout_len=8", "steps=21", "watch.share=null") == 3 * one
    # The first is taken whatever it costs, and the others within the share.
    assert seconds("+rollout_len=8", "steps=200") == max(one, 500.0)


def test_a_trial_computes_with_the_engine_that_it_times(tmp_path):
    config = read(
        "+rollout_len=4",
        "rollout.seeds=batch",
        "rollout.tensor_parallel=2",
        "rollout=vllm",
        "teacher.prompt_cache_gib=1",
    )
    made = slim.settings(config, tmp_path, 1, 7)
    assert (made.rollout.engine, made.rollout.seeds) == ("eager", "response")
    assert made.rollout.max_sequences == 7
    assert made.rollout.tensor_parallel == 1 and made.teacher.prompt_cache_gib == 0


def test_times_in_words():
    assert [words(each) for each in (0.254, 40.2, 720, 108000)] == [
        "0.25 s", "40 s", "12 min", "30.0 h",
    ]  # fmt: skip


def test_a_slim_model_keeps_its_widths_and_the_first_of_what_each_layer_has():
    shape = AutoConfig.for_model("qwen3", num_hidden_layers=6, hidden_size=64)
    made = slim.with_layers(shape, 4)
    assert made.num_hidden_layers == 4 and len(made.layer_types) == 4 and made.hidden_size == 64
    assert shape.num_hidden_layers == 6
    assert slim.with_layers(made, 9).num_hidden_layers == 4


def test_a_trial_times_the_parts_of_a_step_and_is_kept_on_a_quiet_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setattr(trial, "busy", lambda: 0.0)
    config = read("+rollout_len=4", "prompts_per_step=3", "rollout=eager")
    both = [load_tokenizer(each.path) for each in (config.pair.student, config.pair.teacher)]
    pairing, task = resolve_pairing(config.pair, *both), make_task(config, *both)
    prompts = task.train(0, 3)
    at_once, settings = list[int](), slim.settings

    def kept(*given):
        at_once.append(given[-1])
        return settings(*given)

    monkeypatch.setattr(slim, "settings", kept)
    found = trial.measure(config, pairing, prompts, 4, 8)
    for name in ("read", "decode", "score", "train", "sync"):
        assert getattr(found, name) >= 0
    assert found.token(3, 60.0) > 0 and found.read > 0 and found.score > 0 and found.train > 0
    # Twice three prompts, and one response more.
    assert at_once == [7, 7]
    [file] = (tmp_path / "trials").iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"read": 42.0}))
    assert trial.measure(config, pairing, prompts, 4, 8).read == 42.0
    # What was timed on a busy machine is timed again once it is quiet.
    file.write_text(json.dumps(json.loads(file.read_text()) | {"busy": 9.0}))
    assert trial.measure(config, pairing, prompts, 4, 8).read < 42.0


def test_a_trial_decodes_as_many_sequences_as_the_run_will(tmp_path, monkeypatch):
    # One token of R sequences takes 10 ms + 2 ms R + 5 us R C; each part of R = 3 * many is timed.
    def timed(config, pairing, prompts, n, many, layers):
        def token(rows, context):
            return 0.01 + rows * (2e-3 + context * 5e-6)

        context = sum(len(each.student_ids) for each in prompts) / len(prompts) + n / 2
        half = (len(prompts) + 1) // 2
        return {
            "sync": 0.0, "read": 1.0, "decode": token(len(prompts) * many, context),
            "decode half": token(half, context),
            "decode half after more": token(half, context + trial.LONGER),
            "score": 1.0, "train": 2.0, "train half": 1.0,
        }  # fmt: skip

    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setattr(trial, "_timed", timed)
    config = read("+rollout_len=4", "rollout=eager")
    prompts = [Prompt(str(each), "", (1,) * 20, (1,) * 20) for each in range(3)]
    pairing = resolve_pairing(config.pair, *[load_tokenizer(config.pair.student.path)] * 2)
    found = trial.measure(config, pairing, prompts, 4, rows=30)
    assert found.token(30, 22.0) == pytest.approx(0.01 + 30 * (2e-3 + 22 * 5e-6))
    assert [path.stem.split("-")[1] for path in (tmp_path / "trials").iterdir()] == ["10"]


def test_vllm_is_slowed_by_its_own_code_where_a_model_is_tiny():
    student = outlines.skeleton(read("+rollout_len=4").pair.student)
    found = on_vllm(UNIT, student, "cpu", "float32")
    assert 1e-3 < found.token(1, 10.0) < 0.1 and found.score == UNIT.score


def test_runs_on_several_machines_are_not_timed():
    config = read("+rollout_len=4", "execution.rollouts=2")
    student = outlines.skeleton(config.pair.student)
    assert trial.reason_against(config, [student, student]).startswith("several engines")
    assert not trial.reason_against(read("+rollout_len=4"), [student, student])
