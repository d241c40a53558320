"""Compares every divergence with its closed form, for every kind of shared vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from test_distill import R, V, inputs, uniform

from esr_cli.distill.divergence import Options, divergence, figures
from esr_cli.distill.kinds import KINDS
from esr_cli.distill.shared import Grouped, Shared

KIND_NAMES = sorted(KINDS)


def closed_form(kind, beta, log_q, log_p, drawn):
    """Each divergence by definition, differentiable by autograd."""
    q, p = log_q.exp(), log_p.exp()
    if kind == "reverse_kl":
        return (q * (log_q - log_p)).sum(-1)
    if kind == "forward_kl":
        return (p * (log_p - log_q)).sum(-1)
    if kind == "jensen_shannon":
        m = beta * p + (1 - beta) * q
        kl_p, kl_q = (p * (p / m).log()).sum(-1), (q * (q / m).log()).sum(-1)
        return beta * kl_p + (1 - beta) * kl_q
    at = drawn[:, None]
    advantage = (log_q - log_p).gather(-1, at).detach()
    return (advantage * log_q.gather(-1, at))[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_kind_equals_its_closed_form(kind, temperature):
    hidden, head, teacher, tokens = inputs()
    weight = torch.rand(R, dtype=torch.float64)
    loss, found = divergence(
        (hidden, head), teacher, tokens, weight,
        Options(
            kind=kind, beta=0.3, temperature=temperature, sampling_temperature=temperature,
            tile_tokens=4,
        ),
    )  # fmt: skip
    log_q = (head.logits(hidden) / temperature).log_softmax(-1)
    log_p = (teacher[1].logits(teacher[0]) / temperature).log_softmax(-1)
    expected_R = closed_form(kind, 0.3, log_q, log_p, tokens)
    assert (found.value_R - expected_R).abs().max() < 1e-12
    leaves = (hidden, head.weight_VD, head.bias_V)
    ours = torch.autograd.grad(loss, leaves)
    theirs = torch.autograd.grad((weight * expected_R).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-11
    # The reverse KL is reported for every kind, the forward KL only if it is asked for.
    assert found.forward_kl_R.isnan().all()
    asked = figures(
        (hidden, head), teacher, tokens,
        Options(kind=kind, temperature=temperature, tile_tokens=4, forward_kl=True),
    )  # fmt: skip
    forward = closed_form("forward_kl", 0, log_q, log_p, tokens)
    assert (asked.forward_kl_R - forward).abs().max() < 1e-12
    reverse = closed_form("reverse_kl", 0, log_q, log_p, tokens)
    assert (found.kl_R - reverse).abs().max() < 1e-12


def test_jensen_shannon_by_hand():
    """For (1, 0) and (0, 1) at beta 1/2 it is ln 2, although both KLs are infinite."""
    student = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    options = Options(kind="jensen_shannon", beta=0.5)
    one = torch.ones(1, dtype=torch.float64)
    loss, _ = divergence(student, student.flip(-1), torch.tensor([0]), one, options)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-14)


def test_the_policy_gradient_equals_the_reverse_kl_gradient_in_expectation():
    """Sums over all tokens, weighted by probability; the gradient of k1 itself sums to 0."""
    torch.manual_seed(1)
    logits = torch.randn(1, 6, dtype=torch.float64)
    teacher = torch.randn(1, 6, dtype=torch.float64)
    one, found = torch.ones(1, dtype=torch.float64), {}
    for kind in ("policy_gradient", "reverse_kl"):
        found[kind] = torch.zeros_like(logits)
        for token, share in enumerate(logits.softmax(-1)[0]):
            z = logits.clone().requires_grad_()
            loss, _ = divergence(z, teacher, torch.tensor([token]), one, Options(kind=kind))
            found[kind] += share * torch.autograd.grad(loss, z)[0]
    assert (found["policy_gradient"] - found["reverse_kl"]).abs().max() < 1e-14
    z = logits.clone().requires_grad_()
    k1 = z.log_softmax(-1) - teacher.log_softmax(-1)
    (own,) = torch.autograd.grad((logits.softmax(-1) * k1).sum(), z)
    assert own.abs().max() < 1e-14


@pytest.mark.parametrize("kind", ["policy_gradient"])
def test_importance_weights_correct_for_another_sampling_temperature(kind):
    """Over samples at 0.7, gradient, k1 and k3 have the expectation of the reverse KL at 1."""
    torch.manual_seed(1)
    logits, teacher = torch.randn(2, 1, 6, dtype=torch.float64)
    one, found = torch.ones(1, dtype=torch.float64), torch.zeros_like(logits)
    options = Options(kind=kind, sampling_temperature=0.7)
    k1 = k3 = 0.0
    for token, share in enumerate((logits / 0.7).softmax(-1)[0]):
        z = logits.clone().requires_grad_()
        loss, figures = divergence(z, teacher, torch.tensor([token]), one, options)
        found += share * torch.autograd.grad(loss, z)[0]
        k1 += (share * figures.importance_R * figures.k1_R).item()
        k3 += (share * figures.importance_R * ((-figures.k1_R).exp() - 1 + figures.k1_R)).item()
    z = logits.clone().requires_grad_()
    loss, figures = divergence(z, teacher, torch.tensor([0]), one, Options())
    assert (found - torch.autograd.grad(loss, z)[0]).abs().max() < 1e-14
    assert k1 == pytest.approx(figures.kl_R.item()) and k3 == pytest.approx(figures.kl_R.item())


def test_a_sampled_token_outside_has_no_policy_gradient():
    student = torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64).requires_grad_()
    ids = torch.tensor([0, 1, -1])
    options = Options(kind="policy_gradient", shared=Grouped(2, ids, ids))
    teacher = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    loss, found = divergence(student, teacher, torch.tensor([2]), torch.ones(1), options)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0 and gradient.eq(0).all() and found.k1_R.item() == 0


def test_student_logits_and_hidden_states_are_equivalent():
    hidden, head, teacher, tokens = inputs()
    logits = head.logits(hidden).detach().requires_grad_()
    a, of_a = divergence(logits, teacher, tokens, uniform(), Options(tile_tokens=4))
    b, of_b = divergence((hidden, head), teacher, tokens, uniform(), Options(tile_tokens=4))
    assert abs(a - b) < 1e-14 and (of_a.kl_R - of_b.kl_R).abs().max() < 1e-12
    (ours,) = torch.autograd.grad(a, logits)
    (chained,) = torch.autograd.grad(head.logits(hidden), hidden, ours)
    assert (chained - torch.autograd.grad(b, hidden)[0]).abs().max() < 1e-14


def merged(log, groups):
    """Log-probabilities summed over each group of columns; other columns are dropped."""
    return torch.stack([log[:, group].logsumexp(-1) for group in groups], dim=-1)


SMALL = V - 3


@pytest.mark.parametrize("kind", [k for k in KIND_NAMES if k != "policy_gradient"])
@pytest.mark.parametrize("ends", [(), (2, 5)])
@pytest.mark.parametrize("unknown", [(), (4, 7)])
def test_merged_masked_and_missing_tokens(kind, ends, unknown):
    """Compares with distributions merged by hand: one end, and shared tokens only.

    The student has 3 rows past the shared ids, the teacher 2 tokens that only it has.
    """
    hidden, head, _, _ = inputs()
    theirs = torch.randn(R, SMALL + 2, dtype=torch.float64)
    tokens = torch.full((R,), 1)
    mask = torch.zeros(SMALL, dtype=torch.bool)
    mask[list(unknown)] = True
    shared = Shared(SMALL, mask if unknown else None, ends)
    merged = [list(ends)] if ends else []
    groups = [*merged, *([v] for v in range(SMALL) if v not in unknown and v not in ends)]
    loss, found = divergence(
        (hidden, head), theirs, tokens, uniform(),
        Options(kind=kind, beta=0.3, shared=shared, tile_tokens=4),
    )  # fmt: skip
    same_as_merged(loss, found, kind, hidden, head, theirs, groups, groups)
    out_q = head.logits(hidden).softmax(-1)[:, [*unknown, *range(SMALL, V)]].sum(-1)
    known = [v for v in range(SMALL + 2) if v not in unknown]
    out_p = theirs[:, known].softmax(-1)[:, -2:].sum(-1)
    assert (found.student_outside_R - out_q).abs().max() < 1e-12
    assert (found.teacher_outside_R - out_p).abs().max() < 1e-12


def same_as_merged(loss, found, kind, hidden, head, theirs, of_student, of_teacher):
    """Checks that value and gradients are those of the distributions over the groups."""
    log_q = merged(head.logits(hidden), of_student).log_softmax(-1)
    log_p = merged(theirs, of_teacher).log_softmax(-1)
    expected_R = closed_form(kind, 0.3, log_q, log_p, torch.zeros(R, dtype=torch.long))
    assert (found.value_R - expected_R).abs().max() < 1e-12
    leaves = (hidden, head.weight_VD, head.bias_V)
    for a, b in zip(
        torch.autograd.grad(loss, leaves),
        torch.autograd.grad((uniform() * expected_R).sum(), leaves),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [k for k in KIND_NAMES if k != "policy_gradient"])
def test_classes_of_tokens(kind):
    """Two vocabularies of 23 and 20 rows in 3 classes; some tokens and the padding in none."""
    hidden, head, _, _ = inputs()
    theirs = torch.randn(R, 20, dtype=torch.float64)
    of_student, of_teacher = [[1, 4, 9], [0], [2, 3]], [[7], [5, 6], [0, 1, 2, 3]]

    def classes(groups, known):
        found = torch.full((known,), -1)
        for number, group in enumerate(groups):
            found[group] = number
        return found

    grouped = Grouped(3, classes(of_student, 21), classes(of_teacher, 20))
    options = Options(kind=kind, beta=0.3, shared=grouped, tile_tokens=4)
    tokens = torch.full((R,), 4)
    loss, found = divergence((hidden, head), theirs, tokens, uniform(), options)
    same_as_merged(loss, found, kind, hidden, head, theirs, of_student, of_teacher)
    inside = [i for group in of_student for i in group]
    expected = 1 - head.logits(hidden).softmax(-1)[:, inside].sum(-1)
    assert (found.student_outside_R - expected).abs().max() < 1e-12
    # Sampled tokens: id 4 is in class 0, padding row 22 in none.
    assert grouped.column(torch.tensor([4, 0, 3, 8, 22])).tolist() == [0, 1, 2, -1, -1]


def test_a_class_of_probability_zero_keeps_the_loss_finite():
    student = torch.tensor([[0.0, 0.0, -1e4]]).requires_grad_()
    teacher = torch.tensor([[-1e4, 0.0, 0.0]])
    ids = torch.arange(3)
    loss, _ = divergence(
        student, teacher, ids[:1], torch.ones(1), Options(shared=Grouped(3, ids, ids))
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def test_an_end_that_only_the_student_has_counts_as_an_end():
    """The teacher's one end (2) is compared with the student's two (2 and 5)."""
    hidden, head, teacher, tokens = inputs()
    theirs = teacher[1].logits(teacher[0])
    mask = torch.zeros(V, dtype=torch.bool)
    mask[5] = True
    shared = Shared(V, mask, ends=(2, 5))
    _, found = divergence(
        (hidden, head), theirs, torch.full((R,), 5), uniform(), Options(shared=shared)
    )
    groups = [[2, 5], *([v] for v in range(V) if v not in (2, 5))]
    log_q = merged(head.logits(hidden), groups).log_softmax(-1)
    log_p = merged(theirs, [[2], *groups[1:]]).log_softmax(-1)
    assert (found.kl_R - closed_form("reverse_kl", 0, log_q, log_p, tokens)).abs().max() < 1e-12
    assert (found.k1_R - (log_q - log_p)[:, 0]).abs().max() < 1e-12
    # It may be sampled, so its log-probability is finite.
    assert shared.masked(V) == () and torch.isfinite(found.logprob_R).all()


def test_merging_ends_removes_the_divergence_of_different_end_tokens():
    """Both models end with certainty, but by different tokens; unmerged, the KL is large."""
    student, teacher = torch.full((1, 4), -8.0), torch.full((1, 4), -8.0)
    student[0, 0], teacher[0, 1] = 8.0, 8.0
    losses = [
        divergence(
            student, teacher, torch.tensor([0]), torch.ones(1), Options(shared=Shared(4, ends=ends))
        )[0].item()
        for ends in ((), (0, 1))
    ]
    assert losses[0] > 15 and losses[1] < 1e-6


def test_the_logprob_excludes_masked_tokens():
    hidden, head, teacher, _ = inputs()
    mask = torch.zeros(SMALL, dtype=torch.bool)
    mask[4] = True
    shared = Shared(SMALL, mask)
    assert shared.masked(V) == (4, *range(SMALL, V))
    _, found = divergence(
        (hidden, head), teacher, torch.full((R,), 1), uniform(),
        Options(shared=shared, sampling_temperature=0.7),
    )  # fmt: skip
    allowed = [v for v in range(SMALL) if v != 4]
    expected = (head.logits(hidden)[:, allowed] / 0.7).log_softmax(-1)[:, 1]
    assert (found.logprob_R - expected).abs().max() < 1e-12


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_position_of_weight_zero_does_not_count_even_if_not_finite(bad):
    hidden, head, teacher, tokens = inputs()
    weight = uniform()
    weight[3] = 0
    expected, _ = divergence((hidden, head), teacher, tokens, weight, Options(tile_tokens=4))
    spoilt = teacher[0].clone()
    spoilt[3] = bad
    loss, _ = divergence(
        (hidden, head), (spoilt, teacher[1]), tokens, weight, Options(tile_tokens=4)
    )
    assert loss.item() == expected.item()
    for a, b in zip(
        torch.autograd.grad(loss, (hidden, head.weight_VD)),
        torch.autograd.grad(expected, (hidden, head.weight_VD)),
        strict=True,
    ):
        assert torch.equal(a, b)
