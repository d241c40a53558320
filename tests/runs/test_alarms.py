"""Alarms: raised once for each problem, and not by noise."""

from __future__ import annotations

import pytest
from conftest import INLINE, SHORT, esr

from esr_cli.config import AlarmsConfig, ConfigError
from esr_cli.runs.alarms import Alarms


def step(repeats=0.0, ended=1.0, length=100.0):
    return {
        "rollout/repeat_rate": repeats, "rollout/eos_rate": ended, "rollout/length_mean": length,
    }  # fmt: skip


def evaluation(at, value, half=0.02, **also):
    row = {"step": at, "benchmark": "math500"}
    rows = [{**row, "metric": "avg@4", "value": value, "low": value - half, "high": value + half}]
    names = {"length": "length_tokens/mean"}
    return rows + [{**row, "metric": names.get(k, k), "value": v} for k, v in also.items()]


def alarms(uncut=True, **limits):
    return Alarms(AlarmsConfig(**{"window_steps": 4, **limits}), uncut)


def raised(watch, steps):
    return [message for each in steps for message in watch.after_step(each)]


def test_what_a_student_does_before_training_is_not_blamed_on_training():
    watch = alarms()
    [message] = watch.after_evaluation(evaluation(0, 0.5, repeats=0.5, ended=0.95, length=400))
    assert "pair.stop_tokens" in message and "learning_rate" not in message
    # It is one alarm, which is not raised again unless training makes it worse.
    assert watch.after_evaluation(evaluation(5, 0.5, repeats=0.5, ended=0.95, length=400)) == []
    [worse] = watch.after_evaluation(evaluation(9, 0.5, repeats=0.9, ended=0.95, length=400))
    assert "learning_rate" in worse and "90%" in worse


def test_a_quiet_run_raises_none():
    watch = alarms()
    assert raised(watch, [step()] * 50) == []
    for at in range(0, 200, 50):
        rows = evaluation(at, 0.5 + at / 1000, repeats=0.05, ended=0.95, length=400)
        assert watch.after_evaluation(rows) == []


def test_repetition_is_reported_once_with_its_rate_and_remedy():
    watch = alarms()
    [message] = raised(watch, [step()] * 6 + [step(repeats=0.5)] * 20)
    assert "25% of the rollouts of the last 4 steps repeat themselves" in message
    assert "alarms.repeat_rate=0.2" in message and "tune.learning_rate" in message


def test_one_bad_step_raises_none():
    assert raised(alarms(), [step()] * 6 + [step(repeats=0.7)] + [step()] * 6) == []


def test_an_alarm_is_raised_again_only_after_its_reset():
    watch, bad = alarms(), [step(repeats=0.5)] * 8
    # 0.18 is below the limit of 0.2, but does not reset the alarm.
    assert len(raised(watch, bad + [step(repeats=0.18)] * 8 + bad)) == 1
    assert len(raised(watch, [step()] * 8 + bad)) == 1


def test_missing_ends_and_growing_lengths_raise_alarms():
    messages = raised(alarms(), [step()] * 6 + [step(ended=0.05, length=350)] * 6)
    assert len(messages) == 2
    ends, longer = sorted(messages, key=lambda each: "end by" not in each)
    assert "only 5% of the rollouts" in ends and "pair.stop_tokens" in ends
    assert "tokens on average" in longer and "100 at the start" in longer


def test_with_truncated_rollouts_only_evaluations_raise_length_alarms():
    watch = alarms(uncut=False)
    assert raised(watch, [step(ended=0.0, length=64)] * 20) == []
    assert watch.after_evaluation(evaluation(0, 0.5, ended=0.9, length=400)) == []
    messages = watch.after_evaluation(evaluation(50, 0.5, ended=0.1, length=1000))
    assert any("only 10% of the responses to math500 end" in each for each in messages)
    assert any("1000 tokens on average" in each and "400 at the start" in each for each in messages)


def test_a_fall_of_accuracy_beyond_noise_raises_an_alarm():
    watch = alarms()
    assert watch.after_evaluation(evaluation(50, 0.656)) == []
    assert watch.after_evaluation(evaluation(100, 0.620)) == []  # 3.6 points: below the limit
    [message] = watch.after_evaluation(evaluation(150, 0.438))
    assert "22 points below its peak 0.656 at step 50" in message and "checkpoints=all" in message
    assert watch.after_evaluation(evaluation(200, 0.440)) == []


def test_a_fall_within_wide_intervals_raises_none():
    watch = alarms()
    watch.after_evaluation(evaluation(50, 0.65, half=0.1))
    assert watch.after_evaluation(evaluation(100, 0.55, half=0.1)) == []


def test_null_disables_an_alarm():
    watch = alarms(repeat_rate=None, eos_rate=None, length_growth=None, accuracy_fall=None)
    assert raised(watch, [step()] * 6 + [step(repeats=1.0, ended=0.0, length=1e4)] * 9) == []
    watch.after_evaluation(evaluation(0, 0.9))
    assert watch.after_evaluation(evaluation(50, 0.1, repeats=1.0, ended=0.0)) == []


def test_a_resumed_run_raises_the_same_alarms_as_an_uninterrupted_one():
    steps = [step()] * 6 + [step(repeats=0.3)] * 2 + [step(repeats=0.5)] * 9
    for cut in range(len(steps)):
        unbroken, resumed = alarms(), alarms()
        raised(unbroken, steps[:cut])
        resumed.replay(steps[:cut], [])
        assert raised(unbroken, steps[cut:]) == raised(resumed, steps[cut:])


@pytest.mark.parametrize("limit", [{"repeat_rate": 2.0}, {"length_growth": 1.0}])
def test_an_invalid_limit_is_refused(limit):
    with pytest.raises(ConfigError, match=f"alarms.{next(iter(limit))}="):
        AlarmsConfig(**limit)


def test_an_alarm_is_written_to_the_terminal_and_the_log(tmp_path):
    """A learning rate that destroys the student, which then does not end its responses."""
    done = esr(
        "train", *SHORT[1:], "+rollout_len=full", *INLINE, "steps=8",
        "tune.learning_rate=0.3", "tune.warmup_steps=0", "alarms.window_steps=2",
        "eval_every=8", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert any("(alarms." in line for line in warnings), done.stdout
    log = (tmp_path / "run" / "esr.log").read_text()
    assert all(line in log for line in warnings)
