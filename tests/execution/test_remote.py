"""Weights of engines behind workers: sent once, shared afterwards, restored after a restart."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from esr_cli.base.notes import note, take
from esr_cli.base.words import numbered
from esr_cli.execution.remote import RestorableEngine
from esr_cli.execution.restarting import WorkerError
from esr_cli.execution.scoring import Teachers
from esr_cli.execution.several import Engines, WatchedEngines, Workers, log_of
from esr_cli.execution.worker import place
from esr_cli.train.gauge import Gauge
from esr_cli.types import HiddenScores, Prompt, Rollout, Sampling


class Echo:
    """An engine whose rollouts hold its weights, and the limit of each response.

    Responses of one limit end together, the shortest first.
    """

    def load_weights(self, weights):
        """Stores copies, as an engine does."""
        self.held = {name: tensor.clone() for name, tensor in weights.items()}

    def finished(self, prompts, sampling):
        """A response per sample: the pid, the limit, and the first weight."""
        limits = sampling.limits(len(prompts) * sampling.samples)
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        for ended in sorted(set(limits)):
            found = float(self.held["w"][0])
            yield [
                (at, Rollout(*each, (ended,), (found,), str(os.getpid())))
                for at, each in enumerate(wanted) if limits[at] == ended
            ]  # fmt: skip


class Reader:
    """A teacher whose states are the response tokens."""

    def score(self, rollouts):
        """One row per token."""
        tokens = [float(token) for each in rollouts for token in each.response_ids]
        rows = torch.tensor(tokens).reshape(-1, 1)
        aligned = None if all(each.sample == 0 for each in rollouts) else rows[:, 0] > 2
        failed = {"teacher/failed_requests": 1.0, "teacher/canary_gap": float(len(rollouts))}
        return HiddenScores(rows, aligned, failed)


def build_echo():
    return RestorableEngine(Echo())


def prompts(count):
    return [Prompt(str(at), "", (1,), (1,)) for at in range(count)]


def engines(where, count=1, **options):
    if where == "process":
        options = {"restarts": 1, "remember": ("load_weights",), "warn": str, **options}
    return Engines([place(where, numbered("engine", at), build_echo, {}, **options)
                    for at in range(count)])  # fmt: skip


def held(found):
    return {rollout.logprobs[0] for rollout in found.generate(prompts(1), Sampling(4))}


@pytest.fixture(params=["inline", "process"])
def one(request):
    made = engines(request.param)
    yield made
    made.close()


def test_the_engine_sees_an_update_without_sending_the_weights_again(one):
    weights = {"w": torch.zeros(3), "v": torch.ones(2)}
    for value in (1.0, 2.0, 3.0):
        weights["w"].fill_(value)
        one.load_weights(weights)
        assert held(one) == {value}
    # Another tensor under the same name is sent.
    one.load_weights({"w": torch.full((3,), 9.0), "v": weights["v"]})
    assert held(one) == {9.0}


def test_a_restarted_engine_sees_the_present_weights():
    one, weights = engines("process"), {"w": torch.zeros(3)}
    one.load_weights(weights)
    os.kill(one.workers[0].pid, signal.SIGKILL)
    weights["w"].fill_(5.0)
    one.load_weights(weights)
    assert held(one) == {5.0}
    one.close()


def test_rollouts_from_other_weights_than_the_last_are_never_used():
    one, weights = engines("inline"), {"w": torch.zeros(3)}
    one.load_weights(weights)
    one.generate(prompts(1), Sampling(4))
    # An engine that lost a hand-over still answers.
    one.workers[0]._worker._loaded -= 1
    with pytest.raises(WorkerError, match=r"engine sampled with weights of version 0, .*version 1"):
        one.generate(prompts(1), Sampling(4))


def test_several_engines_share_the_prompts_and_answer_in_order():
    three = engines("process", 3)
    three.load_weights({"w": torch.ones(1)})
    limits = tuple(range(1, 11))
    found = three.generate(prompts(5), Sampling(4, samples=2, lengths=limits))
    assert [each.prompt.id for each in found] == [str(at // 2) for at in range(10)]
    assert [each.response_ids[0] for each in found] == list(limits)
    assert [each.replica for each in found] == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert len({each.finish for each in found}) == 3
    # Fewer prompts than engines; the death of one is mended.
    os.kill(three.workers[2].pid, signal.SIGKILL)
    assert [each.prompt.id for each in three.generate(prompts(2), Sampling(4))] == ["0", "1"]
    assert three.generate([], Sampling(4)) == []
    assert three.peak_gib() > 0
    three.close()


@pytest.mark.parametrize("count", [1, 2])
def test_rollouts_are_seen_as_they_end_whoever_dies(count):
    limits = (5, 1, 3, 3, 9, 2, 7, 1, 3, 2)
    some, batch = engines("process", count), (prompts(5), Sampling(9, samples=2, lengths=limits))
    some.load_weights({"w": torch.ones(1)})
    plain, seen = some.generate(*batch), []
    victim = some.workers[0].pid

    def see(part):
        seen.append(part)
        if len(seen) == count:
            os.kill(victim, signal.SIGKILL)

    some.begin([batch], see)
    [found] = some.finish()
    asked = [(each.prompt.id, each.sample, each.response_ids, each.replica) for each in plain]
    assert [(r.prompt.id, r.sample, r.response_ids, r.replica) for r in found] == asked
    assert some.workers[0].pid != victim
    # Each engine gives at least a quarter at a time, and what ends last is not seen.
    expected = [[1, 1, 2, 2], [3, 3, 3]], [[1], [1, 2, 2], [3, 3], [3, 7]]
    assert [[each.response_ids[0] for each in part] for part in seen] == expected[count - 1]
    assert some.generate(*batch)[0].logprobs == (1.0,)
    some.close()


def test_responses_that_end_together_are_not_seen_early(one):
    one.load_weights({"w": torch.ones(1)})
    seen = []
    one.begin([(prompts(5), Sampling(4, samples=2))], seen.append)
    assert len(one.finish()[0]) == 10 and seen == []


def test_an_evaluation_reports_how_many_responses_have_ended(one):
    one.load_weights({"w": torch.ones(1)})
    seen = []
    watched = WatchedEngines(one, lambda ended, total: seen.append((ended, total)))
    limits = (5, 1, 3, 3, 9, 2)
    found = watched.generate(prompts(3), Sampling(9, samples=2, lengths=limits))
    assert [each.response_ids[0] for each in found] == list(limits)
    # What ends last is the evaluation itself.
    assert seen == [(0, 6), (1, 6), (2, 6), (4, 6), (5, 6)]


def build_noting():
    note("decodes slowly")
    return build_echo()


@pytest.mark.parametrize("where", ["inline", "process"])
def test_notes_of_workers_are_taken_once(where):
    take()  # what earlier tests in this process left
    two = Workers([place(where, numbered("engine", at), build_noting, {}) for at in range(2)])
    assert two.take_notes() == ["decodes slowly"] and two.take_notes() == []
    two.close()


def test_weights_may_pass_through_the_host():
    one = Engines([place("process", "engine", build_echo, {})], by_host=True)
    weights = {"w": torch.zeros(3)}
    for value in (1.0, 2.0):
        weights["w"].fill_(value)
        one.load_weights(weights)
        assert held(one) == {value}
        # The engine sees the copy, and not what the trainer does meanwhile.
        weights["w"].fill_(9.0)
        assert held(one) == {value}
    one.close()


def test_several_teachers_share_the_rollouts():
    names = [numbered("teacher", at) for at in range(3)]
    three = Teachers([place("inline", name, Reader, {}) for name in names])
    rollouts = [Rollout(prompt, 0, (at,), (0.0,), "stop") for at, prompt in enumerate(prompts(5))]
    scores = three.score(rollouts)
    assert scores.hidden_RD[:, 0].tolist() == [0, 1, 2, 3, 4] and scores.aligned_R is None
    assert scores.metrics == {"teacher/failed_requests": 3.0, "teacher/canary_gap": 2.0}
    # One of them is not aligned everywhere.
    rollouts[4] = Rollout(prompts(1)[0], 1, (4,), (0.0,), "stop")
    assert three.score(rollouts).aligned_R.tolist() == [True, True, True, True, True]
    rollouts[3] = Rollout(prompts(1)[0], 1, (1,), (0.0,), "stop")
    assert three.score(rollouts).aligned_R.tolist() == [True, True, True, False, True]
    assert three.score([]).hidden_RD.shape == (0, 1)


@pytest.mark.parametrize("where", ["inline", "thread", "process"])
def test_scores_are_in_order_whatever_was_scored_early(where):
    options = {"restarts": 1, "warn": str} if where == "process" else {}
    names = [numbered("teacher", at) for at in range(2)]
    two = Teachers([place(where, name, Reader, {}, **options) for name in names])
    # Some responses are empty.
    rollouts = [Rollout(each, 0, (at,) * (at % 3), (0.0,), "stop")
                for at, each in enumerate(prompts(9))]  # fmt: skip
    expected = [float(at) for at in range(9) for _ in range(at % 3)]
    two.begin([rollouts[at] for at in (7, 1, 4)])
    if where == "process":
        os.kill(two.workers[0].pid, signal.SIGKILL)
    two.begin([rollouts[at] for at in (3, 0)])
    scores = two.score(rollouts)
    assert scores.hidden_RD[:, 0].tolist() == expected
    # Each rollout was scored once: in three parts by two teachers.
    assert scores.metrics["teacher/failed_requests"] == 6.0
    # What was begun for one step is not that of the next.
    two.begin(rollouts[:5])
    later = [Rollout(prompts(1)[0], 0, (40, 40), (0.0,), "stop")]
    assert two.score(later).hidden_RD[:, 0].tolist() == [40.0, 40.0]
    assert two.score(rollouts).hidden_RD[:, 0].tolist() == expected
    two.close()


def test_workers_are_numbered_from_the_second():
    assert [numbered("engine", at) for at in range(2)] == ["engine", "engine 2"]
    assert [log_of("teacher", at) for at in range(2)] == ["teacher.log", "teacher-2.log"]


def test_the_gauge_names_the_engine_that_disagrees():
    said = []
    gauge = Gauge("float32", strict=False, warn=said.append)
    gauge.check({0: (1e-6, 1e-5), 1: (1e-6, 1e-5)})
    assert said == []
    gauge.check({0: (1e-6, 1e-5), 1: (0.5, float("nan")), 2: (1e-6, 1e-5)})
    assert said[0].startswith("engine 2 (of 3) and trainer disagree")
