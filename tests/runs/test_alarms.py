"""Alarms: raised by what people look out for, once, and by nothing that noise explains."""

from __future__ import annotations

import pytest
from conftest import SHORT, esr

from esr_cli.config import AlarmsConfig, ConfigError
from esr_cli.runs.alarms import Alarms


def step(repeats=0.0, ended=1.0, length=100.0):
    return {
        "rollout/repeat_rate": repeats, "rollout/eos_rate": ended, "rollout/length_mean": length,
    }  # fmt: skip


def evaluation(at, value, half=0.02, **also):
    told = {"step": at, "benchmark": "math500"}
    rows = [{**told, "metric": "avg@4", "value": value, "low": value - half, "high": value + half}]
    names = {"length": "length_tokens/mean"}
    return rows + [{**told, "metric": names.get(k, k), "value": v} for k, v in also.items()]


def alarms(uncut=True, **limits):
    return Alarms(AlarmsConfig(**{"window_steps": 4, **limits}), uncut)


def raised(watch, steps):
    return [message for each in steps for message in watch.after_step(each)]


def test_a_quiet_run_raises_none():
    watch = alarms()
    assert raised(watch, [step()] * 50) == []
    for at in range(0, 200, 50):
        rows = evaluation(at, 0.5 + at / 1000, repeats=0.05, ended=0.95, length=400)
        assert watch.after_evaluation(rows) == []


def test_repetition_is_told_once_with_its_figure_and_what_to_do():
    watch = alarms()
    [told] = raised(watch, [step()] * 6 + [step(repeats=0.5)] * 20)
    assert "25% of the rollouts of the last 4 steps repeat themselves" in told
    assert "alarms.repeat_rate=0.2" in told and "tune.learning_rate" in told


def test_one_bad_step_is_none():
    assert raised(alarms(), [step()] * 6 + [step(repeats=0.7)] + [step()] * 6) == []


def test_it_is_raised_again_only_after_it_was_over():
    watch, bad = alarms(), [step(repeats=0.5)] * 8
    # At 0.18 the alarm is not over, though the limit is 0.2.
    assert len(raised(watch, bad + [step(repeats=0.18)] * 8 + bad)) == 1
    assert len(raised(watch, [step()] * 8 + bad)) == 1


def test_hardly_any_ends_and_lengths_run_away():
    told = raised(alarms(), [step()] * 6 + [step(ended=0.05, length=350)] * 6)
    assert len(told) == 2
    ends, longer = sorted(told, key=lambda each: "end by" not in each)
    assert "only 5% of the rollouts" in ends and "pair.stop_tokens" in ends
    assert "tokens in the mean" in longer and "100 at the start" in longer


def test_where_rollouts_are_cut_by_design_only_evaluations_tell_of_lengths():
    watch = alarms(uncut=False)
    assert raised(watch, [step(ended=0.0, length=64)] * 20) == []
    assert watch.after_evaluation(evaluation(0, 0.5, ended=0.9, length=400)) == []
    told = watch.after_evaluation(evaluation(50, 0.5, ended=0.1, length=1000))
    assert any("only 10% of the responses to math500 end" in each for each in told)
    assert any("1000 tokens in the mean" in each and "400 at the start" in each for each in told)


def test_accuracy_that_falls_beyond_noise():
    watch = alarms()
    assert watch.after_evaluation(evaluation(50, 0.656)) == []
    assert watch.after_evaluation(evaluation(100, 0.620)) == []  # 3.6 points: below the limit
    [told] = watch.after_evaluation(evaluation(150, 0.438))
    assert "22 points below its peak 0.656 at step 50" in told and "checkpoints=all" in told
    assert watch.after_evaluation(evaluation(200, 0.440)) == []


def test_a_fall_that_two_wide_intervals_explain_is_none():
    watch = alarms()
    watch.after_evaluation(evaluation(50, 0.65, half=0.1))
    assert watch.after_evaluation(evaluation(100, 0.55, half=0.1)) == []


def test_null_switches_an_alarm_off():
    watch = alarms(repeat_rate=None, eos_rate=None, length_growth=None, accuracy_fall=None)
    assert raised(watch, [step()] * 6 + [step(repeats=1.0, ended=0.0, length=1e4)] * 9) == []
    watch.after_evaluation(evaluation(0, 0.9))
    assert watch.after_evaluation(evaluation(50, 0.1, repeats=1.0, ended=0.0)) == []


def test_a_run_that_goes_on_raises_what_the_unbroken_one_would():
    steps = [step()] * 6 + [step(repeats=0.3)] * 2 + [step(repeats=0.5)] * 9
    for cut in range(len(steps)):
        unbroken, resumed = alarms(), alarms()
        raised(unbroken, steps[:cut])
        resumed.recall(steps[:cut], [])
        assert raised(unbroken, steps[cut:]) == raised(resumed, steps[cut:])


@pytest.mark.parametrize("limit", [{"repeat_rate": 2.0}, {"length_growth": 1.0}])
def test_a_senseless_limit_is_refused(limit):
    with pytest.raises(ConfigError, match=f"alarms.{next(iter(limit))}="):
        AlarmsConfig(**limit)


def test_a_run_tells_its_alarm_on_the_terminal_and_in_its_log(tmp_path):
    """A rate that wrecks the student, which then does not end its responses."""
    done = esr(
        "train", *SHORT[1:], "+rollout_len=full", "rollout=eager", "tracking=none", "steps=8",
        "tune.learning_rate=0.3", "tune.warmup_steps=0", "alarms.window_steps=2",
        "eval_every=8", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert any("(alarms." in line for line in told), done.stdout
    log = (tmp_path / "run" / "esr.log").read_text()
    assert all(line in log for line in told)
