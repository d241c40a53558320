"""A teacher that keeps prompts gives the scores of one that reads them with each response."""

from __future__ import annotations

import pytest
import torch
from conftest import SameIds

from esr_cli.models import shapes
from esr_cli.models.reading import Reading
from esr_cli.teacher.teacher import Teacher
from esr_cli.types import HiddenScores, Prompt, Rollout

GIB = 2**30


def asked(number: int, length: int, samples: int = 1) -> list[Rollout]:
    """Responses of unlike lengths to one prompt of `length` tokens."""
    stream = torch.Generator().manual_seed(number)

    def ids(count):
        return tuple(torch.randint(3, 100, (count,), generator=stream).tolist())

    prompt = Prompt(f"p{number}", "", ids(4), ids(length))
    counts = [1 + (number + 5 * sample) % 9 for sample in range(samples)]
    return [
        Rollout(prompt, sample, ids(count), (-1.0,) * count, "length")
        for sample, count in enumerate(counts)
    ]


@pytest.fixture(scope="module")
def make(tiny_pair):
    def made(kept: int | None = GIB, reader=None, compiled=False) -> Teacher:
        path, columns = str(tiny_pair / "teacher"), tuple(range(108))
        reads = reader or SameIds()
        return Teacher(path, "float32", "cpu", 64, None, reads, columns, False, compiled, kept)

    return made


def read(scores) -> float:
    return scores.metrics["teacher/prompt_tokens_read"]


def same(one, other) -> None:
    states = [s.hidden_RD if isinstance(s, HiddenScores) else s.logits_RV for s in (one, other)]
    assert states[0].shape == states[1].shape
    assert torch.allclose(*states, atol=1e-5, rtol=1e-5)


def test_a_prompt_is_read_twice_and_then_never_again(make):
    """The first time with its response; the scores are the same each time."""
    plain, keeps = make(kept=None), make()
    rollouts = [*asked(1, 12), *asked(2, 5), *asked(3, 30)]
    counts = []
    for order in (1, -1, 1):
        found, expected = keeps.score(rollouts[::order]), plain.score(rollouts[::order])
        same(found, expected)
        counts.append((read(found), read(expected)))
    assert counts == [(47, 47), (47, 47), (0, 47)]


def test_a_prompt_of_several_responses_is_read_once(make):
    rollouts = [*asked(4, 20, samples=8), *asked(5, 11)]
    found, expected = make().score(rollouts), make(kept=None).score(rollouts)
    same(found, expected)
    assert read(expected) == 8 * 20 + 11
    # Micro-batches of 64 tokens hold some of its responses each; it is kept between them.
    assert read(found) == 20 + 11


def test_responses_of_one_call_share_their_prompt_where_none_is_kept(make):
    rollouts = [*asked(4, 20, samples=2), *asked(5, 11)]
    one = make(kept=0)
    for _ in range(3):
        found = one.score(rollouts)
        same(found, make(kept=None).score(rollouts))
        assert read(found) == 20 + 11 and not one.prompts._known


def test_prompts_used_least_recently_leave_first(make):
    keeps = make()
    token = shapes.cache_bytes(keeps.model.config, 4)
    keeps = make(kept=25 * token)
    one, two, three = (asked(number, 10) for number in (1, 2, 3))
    for rollouts in (one, one, two, two):
        keeps.score(rollouts)
    assert read(keeps.score(one)) == read(keeps.score(two)) == 0
    keeps.score(three)
    assert read(keeps.score(two)) == 0 and read(keeps.score(one)) == 10


def test_a_prompt_beyond_the_bound_drives_out_no_other(make):
    keeps = make(kept=25 * shapes.cache_bytes(make().model.config, 4))
    for rollouts in (asked(1, 10), asked(1, 10), asked(2, 40), asked(2, 40)):
        keeps.score(rollouts)
    assert read(keeps.score(asked(1, 10))) == 0


def test_prompts_that_return_too_late_are_not_kept(make):
    """A stream longer than the bound is read in one pass each time, and nothing is held."""
    keeps = make(kept=25 * shapes.cache_bytes(make().model.config, 4))
    for _ in range(3):
        for number in range(4):
            keeps.score(asked(number, 10))
    assert all(held is None for _, held in keeps.prompts._known.values())
    # One that exceeds the bound by itself is still read once for its responses in a micro-batch.
    assert read(keeps.score(asked(9, 40, samples=3))) < 3 * 40


class Pairs:
    """A reader whose tokens are those of two of the student's, every second one not aligned."""

    def read(self, response_ids):
        rows = tuple(-1 if at % 2 else at // 2 for at in range(len(response_ids)))
        return Reading(response_ids[: max(rows)], rows)


def test_logits_other_readings_and_compiled_layers_are_the_same(make, monkeypatch):
    rollouts = [*asked(6, 9, samples=3), *asked(7, 14, samples=2)]
    same(make(reader=Pairs()).score(rollouts), make(None, Pairs()).score(rollouts))
    one, other = make(), make(None)
    one.splits = other.splits = False
    same(one.score(rollouts), other.score(rollouts))


def test_compiled_layers_read_after_kept_prompts(make):
    keeps, plain = make(compiled=True), make(None)
    for rollouts in (asked(6, 9, samples=3), asked(7, 14, samples=2), asked(6, 9, samples=3)):
        same(keeps.score(rollouts), plain.score(rollouts))
