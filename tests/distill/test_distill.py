"""Compares the divergence with closed forms and dense float64, and runs gradcheck."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from esr_cli.distill.divergence import Options, divergence
from esr_cli.distill.head import Head
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
    """Loss and figures in one namespace."""
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
def test_value_and_gradients_equal_a_dense_computation(temperature, softcap):
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


def test_padding_rows_of_either_vocabulary_are_ignored():
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


def test_a_frozen_head_gets_no_gradient_and_sampling_temperature_is_separate():
    hidden, head, teacher, tokens = inputs()
    frozen = Head(head.weight_VD.detach(), head.bias_V.detach())
    out = reverse_kl(hidden, frozen, teacher, tokens, uniform(), sampling_temperature=0.7)
    out.loss.backward()
    assert frozen.weight_VD.grad is None and hidden.grad is not None
    expected = (frozen.logits(hidden) / 0.7).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    assert (out.logprob_R - expected).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_figures_equal_a_dense_computation(temperature):
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


def test_without_a_token_mask_the_logprob_is_over_all_rows():
    hidden, head, teacher, _ = inputs()
    tokens = torch.full((R,), V - 1)
    ids = torch.arange(V) % 2
    options = Options(shared=Grouped(2, ids, ids))
    _, out = divergence((hidden, head), teacher, tokens, uniform(), options)
    expected = head.logits(hidden).log_softmax(-1)[:, V - 1]
    assert (out.logprob_R - expected).abs().max() < 1e-12


def test_rows_past_the_shared_vocabulary_get_no_gradient_and_a_short_teacher_is_refused():
    hidden, head, teacher, tokens = inputs()
    short = (teacher[0], teacher[1].picked(range(V - 4)))
    reverse_kl(hidden, head, short, tokens, uniform(), vocabulary=V - 4).loss.backward()
    assert head.weight_VD.grad[V - 4 :].eq(0).all() and head.bias_V.grad[V - 4 :].eq(0).all()
    assert head.weight_VD.grad[: V - 4].ne(0).any()
    with pytest.raises(AssertionError):
        reverse_kl(hidden, head, short, tokens, uniform())


def test_only_trained_tensors_get_a_gradient():
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


def test_tokens_masked_by_both_models_are_ignored():
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


def test_an_empty_input_gives_a_loss_of_zero():
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


@pytest.mark.parametrize("columns", [range(13), (4, 2, 9, 7, 1)])
def test_a_picked_head_in_16_bits_hides_its_padding_rows(columns):
    columns = tuple(columns)
    head = Head(torch.randn(20, D).bfloat16(), torch.randn(20).bfloat16())
    hidden = torch.randn(3, D).bfloat16()
    picked = head.picked(columns)
    assert len(picked.weight_VD) % 8 == 0 and picked.rows == len(columns)
    assert torch.equal(picked.logits(hidden), head.logits(hidden)[:, list(columns)])
    assert len(Head(head.weight_VD.float()).picked(columns).weight_VD) == len(columns)
