"""The divergence against closed forms, a dense float64 computation, and gradcheck."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from esr_cli.distill.divergence import Options, divergence
from esr_cli.distill.head import Head
from esr_cli.distill.kinds import KINDS
from esr_cli.distill.shared import Grouped, Shared

R, V, D = 11, 23, 7


def inputs(dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=dtype)  # noqa: E731
    student = Head(draw(V, D).requires_grad_(), draw(V).requires_grad_() if bias else None)
    teacher = (draw(R, D), Head(draw(V, D)))
    return draw(R, D).requires_grad_(), student, teacher, torch.randint(V, (R,))


def dense(hidden, head, teacher_logits, weight, temperature, vocabulary=V):
    log_q = (head.logits(hidden)[:, :vocabulary] / temperature).log_softmax(-1)
    log_p = (teacher_logits[:, :vocabulary] / temperature).log_softmax(-1)
    return (weight * F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(-1)).sum()


def reverse_kl(hidden, head, teacher, tokens, weight, *, vocabulary=None, **options):
    """Loss and figures in one, as the tests below ask for them."""
    shared = None if vocabulary is None else Shared(vocabulary)
    loss, found = divergence(
        (hidden, head), teacher, tokens, weight, Options(shared=shared, **options)
    )
    return SimpleNamespace(loss=loss, **vars(found))


def uniform():
    return torch.full((R,), 1 / R, dtype=torch.float64)


def test_three_tokens_by_hand():
    """KL of (1/2, 1/4, 1/4) from (1/4, 1/2, 1/4) is (ln 2) / 4."""
    student = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    head = Head(torch.eye(3, dtype=torch.float64))
    out = reverse_kl(student, head, teacher, torch.tensor([1]), torch.ones(1, dtype=torch.float64))
    assert out.loss.item() == pytest.approx(math.log(2) / 4, abs=1e-14)
    assert out.student_entropy_R.item() == pytest.approx(1.5 * math.log(2), abs=1e-14)
    assert out.logprob_R.item() == pytest.approx(math.log(0.25), abs=1e-14)
    assert not out.top1_agree_R.item()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_value_and_gradients_equal_the_dense_ones(temperature, softcap):
    hidden, head, teacher, tokens = inputs()
    head = Head(head.weight_VD, head.bias_V, scale=0.5, softcap=softcap)
    weight = torch.rand(R, dtype=torch.float64)
    ours = reverse_kl(hidden, head, teacher, tokens, weight, temperature=temperature, tile_tokens=4)
    theirs = dense(hidden, head, teacher[1].logits(teacher[0]), weight, temperature)
    leaves = (hidden, head.weight_VD, head.bias_V)
    found, expected = torch.autograd.grad(ours.loss, leaves), torch.autograd.grad(theirs, leaves)
    assert abs(ours.loss.item() - theirs.item()) < 1e-10
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-10


def test_gradcheck():
    hidden, head, teacher, tokens = inputs()

    def loss(hidden, weight, bias):
        options = {"temperature": 0.7, "tile_tokens": 3}
        return reverse_kl(hidden, Head(weight, bias), teacher, tokens, uniform(), **options).loss

    assert torch.autograd.gradcheck(loss, (hidden, head.weight_VD, head.bias_V))


def test_tiles_and_micro_batches_change_nothing():
    hidden, head, teacher, tokens = inputs()
    whole = reverse_kl(hidden, head, teacher, tokens, uniform(), tile_tokens=100)
    tiled = reverse_kl(hidden, head, teacher, tokens, uniform(), tile_tokens=2)
    assert abs(whole.loss.item() - tiled.loss.item()) < 1e-14
    (expected,) = torch.autograd.grad(whole.loss, (hidden,))
    parts = [slice(0, 3), slice(3, 4), slice(4, R)]
    for part in parts:
        cut = (teacher[0][part], teacher[1])
        reverse_kl(hidden[part], head, cut, tokens[part], uniform()[part]).loss.backward()
    assert (hidden.grad - expected).abs().max() < 1e-14


def test_padding_rows_of_either_vocabulary_do_not_count():
    hidden, head, teacher, tokens = inputs(bias=False)
    tokens = tokens.clamp(max=V - 5)
    small = reverse_kl(
        hidden, Head(head.weight_VD[: V - 4]), (teacher[0], Head(teacher[1].weight_VD[: V - 4])),
        tokens, uniform(),
    )  # fmt: skip
    padded = reverse_kl(hidden, head, teacher, tokens, uniform(), vocabulary=V - 4)
    assert small.loss.item() == pytest.approx(padded.loss.item(), abs=1e-14)


def test_logits_and_hidden_states_of_the_teacher_agree():
    hidden, head, teacher, tokens = inputs()
    logits = teacher[1].logits(teacher[0])
    a = reverse_kl(hidden, head, teacher, tokens, uniform())
    b = reverse_kl(hidden, head, logits, tokens, uniform())
    assert torch.equal(a.kl_R, b.kl_R)


def test_a_frozen_head_gets_no_gradient_and_sampling_temperature_is_apart():
    hidden, head, teacher, tokens = inputs()
    frozen = Head(head.weight_VD.detach(), head.bias_V.detach())
    out = reverse_kl(hidden, frozen, teacher, tokens, uniform(), sampling_temperature=0.7)
    out.loss.backward()
    assert frozen.weight_VD.grad is None and hidden.grad is not None
    expected = (frozen.logits(hidden) / 0.7).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    assert (out.logprob_R - expected).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_by_products_equal_the_dense_ones(temperature):
    hidden, head, teacher, tokens = inputs()
    out = reverse_kl(
        hidden, head, teacher, tokens, uniform(), temperature=temperature, tile_tokens=4
    )
    log_q = (head.logits(hidden) / temperature).log_softmax(-1)
    log_p = (teacher[1].logits(teacher[0]) / temperature).log_softmax(-1)
    expected = {
        "kl_R": (log_q.exp() * (log_q - log_p)).sum(-1),
        "student_entropy_R": -(log_q.exp() * log_q).sum(-1),
        "teacher_entropy_R": -(log_p.exp() * log_p).sum(-1),
        "logprob_R": head.logits(hidden).log_softmax(-1).gather(-1, tokens[:, None])[:, 0],
    }
    for name, value in expected.items():
        assert (getattr(out, name) - value).abs().max() < 1e-12, name
        assert not getattr(out, name).requires_grad
    assert torch.equal(out.top1_agree_R, log_q.argmax(-1) == log_p.argmax(-1))


def test_where_nothing_is_barred_the_drawn_token_is_scored_over_all_rows():
    hidden, head, teacher, _ = inputs()
    tokens = torch.full((R,), V - 1)
    ids = torch.arange(V) % 2
    options = Options(shared=Grouped(2, ids, ids))
    _, out = divergence((hidden, head), teacher, tokens, uniform(), options)
    expected = head.logits(hidden).log_softmax(-1)[:, V - 1]
    assert (out.logprob_R - expected).abs().max() < 1e-12


def test_rows_past_the_shared_vocabulary_get_no_gradient_and_a_short_teacher_is_refused():
    hidden, head, teacher, tokens = inputs()
    short = (teacher[0], teacher[1].cut(V - 4))
    reverse_kl(hidden, head, short, tokens, uniform(), vocabulary=V - 4).loss.backward()
    assert head.weight_VD.grad[V - 4 :].eq(0).all() and head.bias_V.grad[V - 4 :].eq(0).all()
    assert head.weight_VD.grad[: V - 4].ne(0).any()
    with pytest.raises(AssertionError):
        reverse_kl(hidden, head, short, tokens, uniform())


def test_only_what_trains_gets_a_gradient():
    """Nothing is stored for a frozen head, for frozen states, or without grad mode."""
    hidden, head, teacher, tokens = inputs()
    frozen = Head(head.weight_VD.detach(), head.bias_V.detach())
    stored = reverse_kl(hidden, frozen, teacher, tokens, uniform()).loss.grad_fn.saved_tensors
    assert [x is not None for x in stored] == [True, False, False]
    only_bias = Head(head.weight_VD.detach(), head.bias_V)
    loss = reverse_kl(hidden.detach(), only_bias, teacher, tokens, uniform()).loss
    assert [x is not None for x in loss.grad_fn.saved_tensors] == [False, False, True]
    with torch.no_grad():
        assert not reverse_kl(hidden, head, teacher, tokens, uniform()).loss.requires_grad


def test_tokens_ruled_out_by_both_count_for_nothing():
    """-inf logits give the KL, entropies and gradients of the vocabulary without them."""
    hidden, head, teacher, tokens = inputs()
    tokens = tokens.clamp(max=V - 5)
    logits = teacher[1].logits(teacher[0]).detach().clone()
    bias = head.bias_V.detach().clone()
    logits[:, V - 4 :], bias[V - 4 :] = -torch.inf, -torch.inf
    ruled = reverse_kl(hidden, Head(head.weight_VD, bias), logits, tokens, uniform())
    (found,) = torch.autograd.grad(ruled.loss, (hidden,))
    cut = reverse_kl(hidden, head, teacher, tokens, uniform(), vocabulary=V - 4)
    (expected,) = torch.autograd.grad(cut.loss, (hidden,))
    assert (found - expected).abs().max() < 1e-12
    for name in ("kl_R", "student_entropy_R", "teacher_entropy_R"):
        assert (getattr(ruled, name) - getattr(cut, name)).abs().max() < 1e-12, name


def test_low_precision_states_are_reduced_in_fp32():
    hidden, head, teacher, tokens = inputs()
    half = [
        x.detach().bfloat16() for x in (hidden, head.weight_VD, teacher[0], teacher[1].weight_VD)
    ]
    hidden, weight = half[0].requires_grad_(), half[1].requires_grad_()
    out = reverse_kl(
        hidden, Head(weight), (half[2], Head(half[3])), tokens, uniform(), tile_tokens=4
    )
    expected = dense(hidden, Head(weight), Head(half[3]).logits(half[2]), uniform(), 1.0)
    assert out.loss.dtype == torch.float32
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = torch.autograd.grad(out.loss, (hidden, weight))
    theirs = torch.autograd.grad(expected, (hidden, weight))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a - b).float().abs().max() < 0.02 * b.float().abs().max()


def test_no_rows_give_a_loss_of_zero():
    hidden, head, teacher, tokens = inputs()
    none = (teacher[0][:0], teacher[1])
    out = reverse_kl(hidden[:0], head, none, tokens[:0], uniform()[:0])
    out.loss.backward()
    assert out.loss.item() == 0 and head.weight_VD.grad.eq(0).all()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_extreme_logits_stay_finite_in_fp32(size):
    hidden, head, teacher, tokens = inputs(torch.float32)
    out = reverse_kl(hidden * size, head, teacher, tokens, uniform().float())
    (gradient,) = torch.autograd.grad(out.loss, (hidden,))
    assert torch.isfinite(out.kl_R).all() and (out.kl_R >= 0).all()
    assert torch.isfinite(gradient).all()
    same = reverse_kl(hidden * size, head, head.logits(hidden * size).detach(), tokens, uniform())
    assert (same.kl_R >= 0).all() and same.kl_R.max() < 1e-5


KIND_NAMES = sorted(KINDS)


def closed_form(kind, beta, log_q, log_p, drawn):
    """Each divergence as its definition reads, differentiable by autograd."""
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
    # The reverse KL is told whatever trains.
    reverse = closed_form("reverse_kl", 0, log_q, log_p, tokens)
    assert (found.kl_R - reverse).abs().max() < 1e-12


def test_jensen_shannon_by_hand():
    """Of (1, 0) and (0, 1) at beta 1/2 it is ln 2, where both KLs are infinite."""
    student = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    options = Options(kind="jensen_shannon", beta=0.5)
    one = torch.ones(1, dtype=torch.float64)
    loss, _ = divergence(student, student.flip(-1), torch.tensor([0]), one, options)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-14)


def test_the_policy_gradient_is_the_reverse_kls_in_expectation():
    """Summed over every token with the probability of drawing it; k1's own gradient sums to 0."""
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
def test_tokens_drawn_at_another_temperature_are_weighed_by_their_importance(kind):
    """In expectation over what is drawn at 0.7, the reverse KL at 1: gradient, k1 and k3."""
    torch.manual_seed(1)
    logits, teacher = torch.randn(2, 1, 6, dtype=torch.float64)
    one, found = torch.ones(1, dtype=torch.float64), torch.zeros_like(logits)
    options = Options(kind=kind, sampling_temperature=0.7)
    k1 = k3 = 0.0
    for token, share in enumerate((logits / 0.7).softmax(-1)[0]):
        z = logits.clone().requires_grad_()
        loss, told = divergence(z, teacher, torch.tensor([token]), one, options)
        found += share * torch.autograd.grad(loss, z)[0]
        k1 += (share * told.importance_R * told.k1_R).item()
        k3 += (share * told.importance_R * ((-told.k1_R).exp() - 1 + told.k1_R)).item()
    z = logits.clone().requires_grad_()
    loss, told = divergence(z, teacher, torch.tensor([0]), one, Options())
    assert (found - torch.autograd.grad(loss, z)[0]).abs().max() < 1e-14
    assert k1 == pytest.approx(told.kl_R.item()) and k3 == pytest.approx(told.kl_R.item())


def test_a_drawn_token_outside_has_no_policy_gradient():
    student = torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64).requires_grad_()
    ids = torch.tensor([0, 1, -1])
    options = Options(kind="policy_gradient", shared=Grouped(2, ids, ids))
    teacher = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    loss, found = divergence(student, teacher, torch.tensor([2]), torch.ones(1), options)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0 and gradient.eq(0).all() and found.k1_R.item() == 0


def test_logits_of_the_student_do_as_well_as_its_states():
    hidden, head, teacher, tokens = inputs()
    logits = head.logits(hidden).detach().requires_grad_()
    a, of_a = divergence(logits, teacher, tokens, uniform(), Options(tile_tokens=4))
    b, of_b = divergence((hidden, head), teacher, tokens, uniform(), Options(tile_tokens=4))
    assert abs(a - b) < 1e-14 and (of_a.kl_R - of_b.kl_R).abs().max() < 1e-12
    (ours,) = torch.autograd.grad(a, logits)
    (chained,) = torch.autograd.grad(head.logits(hidden), hidden, ours)
    assert (chained - torch.autograd.grad(b, hidden)[0]).abs().max() < 1e-14


def lumped(log, groups):
    """Log-probabilities with each group of columns summed into one; columns not named fall out."""
    return torch.stack([log[:, group].logsumexp(-1) for group in groups], dim=-1)


SMALL = V - 3


@pytest.mark.parametrize("kind", [k for k in KIND_NAMES if k != "policy_gradient"])
@pytest.mark.parametrize("ends", [(), (2, 5)])
@pytest.mark.parametrize("unknown", [(), (4, 7)])
def test_folded_barred_and_missing_tokens(kind, ends, unknown):
    """Against distributions lumped by hand: ends into one, what is not shared left out.

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
    same_as_lumped(loss, found, kind, hidden, head, theirs, groups, groups)
    out_q = head.logits(hidden).softmax(-1)[:, [*unknown, *range(SMALL, V)]].sum(-1)
    known = [v for v in range(SMALL + 2) if v not in unknown]
    out_p = theirs[:, known].softmax(-1)[:, -2:].sum(-1)
    assert (found.student_outside_R - out_q).abs().max() < 1e-12
    assert (found.teacher_outside_R - out_p).abs().max() < 1e-12


def same_as_lumped(loss, found, kind, hidden, head, theirs, of_student, of_teacher):
    """Value and gradients are those of the distributions over the groups."""
    log_q = lumped(head.logits(hidden), of_student).log_softmax(-1)
    log_p = lumped(theirs, of_teacher).log_softmax(-1)
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
    """Unlike vocabularies of 23 and 20 rows in 3 classes; some tokens, and padding, in none."""
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
    same_as_lumped(loss, found, kind, hidden, head, theirs, of_student, of_teacher)
    inside = [i for group in of_student for i in group]
    expected = 1 - head.logits(hidden).softmax(-1)[:, inside].sum(-1)
    assert (found.student_outside_R - expected).abs().max() < 1e-12
    # Drawn tokens: 4 stands for class 0, padding row 22 for none.
    assert grouped.column(torch.tensor([4, 0, 3, 8, 22])).tolist() == [0, 1, 2, -1, -1]


def test_a_class_that_a_model_rules_out_stays_finite():
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
    log_q = lumped(head.logits(hidden), groups).log_softmax(-1)
    log_p = lumped(theirs, [[2], *groups[1:]]).log_softmax(-1)
    assert (found.kl_R - closed_form("reverse_kl", 0, log_q, log_p, tokens)).abs().max() < 1e-12
    assert (found.k1_R - (log_q - log_p)[:, 0]).abs().max() < 1e-12
    # It may be drawn, so its log-probability is a finite one.
    assert shared.barred(V) == () and torch.isfinite(found.logprob_R).all()


def test_merging_ends_cures_a_difference_of_names():
    """Both models end surely, by other tokens: apart they seem far from each other."""
    student, teacher = torch.full((1, 4), -8.0), torch.full((1, 4), -8.0)
    student[0, 0], teacher[0, 1] = 8.0, 8.0
    losses = [
        divergence(
            student, teacher, torch.tensor([0]), torch.ones(1), Options(shared=Shared(4, ends=ends))
        )[0].item()
        for ends in ((), (0, 1))
    ]
    assert losses[0] > 15 and losses[1] < 1e-6


def test_barred_tokens_are_those_that_no_drawn_log_probability_counts():
    hidden, head, teacher, _ = inputs()
    mask = torch.zeros(SMALL, dtype=torch.bool)
    mask[4] = True
    shared = Shared(SMALL, mask)
    assert shared.barred(V) == (4, *range(SMALL, V))
    _, found = divergence(
        (hidden, head), teacher, torch.full((R,), 1), uniform(),
        Options(shared=shared, sampling_temperature=0.7),
    )  # fmt: skip
    allowed = [v for v in range(SMALL) if v != 4]
    expected = (head.logits(hidden)[:, allowed] / 0.7).log_softmax(-1)[:, 1]
    assert (found.logprob_R - expected).abs().max() < 1e-12


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_position_without_a_weight_does_not_count_whatever_stands_there(bad):
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
