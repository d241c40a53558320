"""The guard on whole responses: alarms that rest on enough of them, and silence on good runs."""

from __future__ import annotations

import pytest

from esr_cli.config import AlarmsConfig, ConfigError, WatchConfig
from esr_cli.runs.guard import Guard


def watch(at, ended, repeats=0.0, responses=16, **graded):
    row = {"step": at, "responses": responses, "ended": ended, "repeats": repeats}
    return row | ({"graded": responses} | graded if graded else {})


def messages(watches, kl=(4.0,) * 100, limits=None, guard=None):
    """The alarms of a run with a KL for each step, and a watch every ten."""
    guard, found = guard or Guard(limits or AlarmsConfig()), []
    steps = iter(enumerate(kl, 1))
    for row in watches:
        for _ in range(10 if row["step"] else 0):
            at, value = next(steps)
            guard.after_step({"step": at, "train/reverse_kl": value})
        if message := guard.after_watch(row, 32):
            found.append((row["step"], message))
    return found


FALLS = [4.3] * 5 + [0.36] * 95


def test_a_run_that_loops_at_n_32_raises_one_alarm_with_its_figures():
    """Shares as seen on a real pair: nothing ended from the start on, while the KL fell."""
    looping = [watch(0, 0.0, 3 / 16), *(watch(at, 0.0, 9 / 16) for at in range(10, 60, 10))]
    [(at, message)] = messages(looping, FALLS)
    assert at == 20
    assert message.startswith("of 32 whole responses at steps 10 to 20 0% [0%, 11%] ended")
    assert "56% [39%, 72%] repeat themselves, 19%" in message and "rollouts cut at N=32" in message
    assert "from 4.3 to 0.36" in message and "lengths.full_share" in message


def test_a_run_that_learns_to_end_raises_none():
    learns = [watch(10 * at, share, 0.2) for at, share in enumerate((1 / 16, 3 / 16, 0.5, 1, 1, 1))]
    assert messages(learns, FALLS) == []


def test_a_good_student_that_stops_ending_raises_one_whatever_its_kl():
    assert len(messages([watch(0, 1.0), watch(10, 0.25), watch(20, 0.25), watch(30, 0.25)])) == 1


def test_a_student_that_loops_from_the_start_raises_none_until_its_kl_falls():
    always = [watch(at, 1 / 16, 0.5) for at in range(0, 60, 10)]
    assert messages(always) == []
    # One on each figure, as soon as its interval has passed the limit.
    assert [at for at, _ in messages(always, FALLS)] == [20, 30]


@pytest.mark.parametrize("responses", [1, 2])
def test_few_responses_never_raise_an_alarm(responses):
    for rest in (0.0, 1.0):
        first = watch(0, 1.0, 0.0, responses)
        assert messages([first, watch(10, rest, 1 - rest, responses)], FALLS) == []
    # However bad one watch is, it is one sample.
    assert messages([watch(0, 1.0), watch(10, 0.0, 1.0)], FALLS) == []
    # Two responses in each of three watches.
    many = [watch(0, 1.0, 0.0, 2), *(watch(at, 0.5, 0.5, 2) for at in (10, 20, 30))]
    assert messages(many, FALLS) == []


def test_a_student_that_forgets_how_to_answer_raises_one_though_its_responses_end():
    """Shares as seen on a real pair at N=8, whose KL within N was 0.0 nats throughout."""
    shares = [(1.0, 0.25), (0.375, 0.0625), (0.375, 0.125), (0.1875, 0.0625)]
    rows = [watch(5 * at, 1.0, boxed=b, accuracy=a) for at, (b, a) in enumerate(shares)]
    [(at, message)] = messages(rows, [0.0] * 40)
    assert at == 10 and "38% [23%, 55%] hold an answer, 100%" in message
    assert messages(rows, [0.0] * 40, AlarmsConfig(accuracy_fall=None)) == []
    # Half of the responses can be judged: the same shares of fewer say less.
    few = [row | {"graded": 2} for row in rows]
    assert messages(few, [0.0] * 40) == []


def test_a_good_student_that_comes_to_be_wrong_raises_one():
    rows = [watch(10 * at, 1.0, boxed=1.0, accuracy=a) for at, a in enumerate((0.9, 0.4, 0.3))]
    [(_, message)] = messages(rows)
    assert "35% [21%, 52%] are right" in message and "hold an answer" not in message


def test_the_noise_of_small_samples_raises_none():
    shares = (0.5, 0.31, 0.44, 0.62, 0.38, 0.5)
    noisy = [watch(10 * at, share, 1 - share) for at, share in enumerate(shares)]
    assert messages(noisy) == []


def test_an_alarm_of_the_guard_is_raised_again_after_recovery():
    bad, good = [watch(0, 0.1)] * 3, [watch(0, 1.0)] * 3
    rows = [watch(10 * at, row["ended"]) for at, row in enumerate([*good, *bad, *good, *bad, *bad])]
    assert len(messages(rows, [4.0] * 200)) == 2


def test_null_limits_disable_the_guard():
    off = AlarmsConfig(eos_rate=None, repeat_rate=None)
    assert messages([watch(0, 1.0)] + [watch(at, 0.0, 1.0) for at in (10, 20)], FALLS, off) == []


def test_the_guard_of_a_resumed_run_raises_what_is_left():
    rows = [watch(0, 1.0), *(watch(at, 0.0, 0.6) for at in range(10, 60, 10))]
    metrics = [{"step": at, "train/reverse_kl": kl} for at, kl in enumerate(FALLS, 1)]
    for cut in (10, 20, 30):
        resumed = Guard(AlarmsConfig())
        resumed.replay(metrics[:cut], [row for row in rows if row["step"] <= cut], 32)
        assert bool(resumed.standing) == (cut >= 20)
        later = [row for row in rows if row["step"] > cut]
        raised = messages(later, FALLS[cut:], guard=resumed)
        assert len(raised) == (0 if cut >= 20 else 1)


@pytest.mark.parametrize(
    "bad", [{"every": -1}, {"prompts": 0}, {"share": 1.5}, {"every": 0, "stop": True}]
)
def test_an_invalid_watch_is_refused(bad):
    with pytest.raises(ConfigError, match=f"watch.{list(bad)[-1]}="):
        WatchConfig(**bad)
