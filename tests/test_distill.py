"""The divergence against closed forms, a dense float64 computation, and gradcheck."""

import math

import pytest
import torch
import torch.nn.functional as F

from esr_cli.distill.divergence import reverse_kl
from esr_cli.distill.head import Head

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
    assert out.student_logprob_R.item() == pytest.approx(math.log(0.25), abs=1e-14)
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
    out = reverse_kl(hidden, frozen, teacher, tokens, uniform(), logprob_temperature=0.7)
    out.loss.backward()
    assert frozen.weight_VD.grad is None and hidden.grad is not None
    expected = (frozen.logits(hidden) / 0.7).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    assert (out.student_logprob_R - expected).abs().max() < 1e-12


def test_extreme_logits_stay_finite_in_fp32():
    hidden, head, teacher, tokens = inputs(torch.float32)
    out = reverse_kl(hidden * 1e4, head, teacher, tokens, uniform().float())
    assert torch.isfinite(out.kl_R).all() and (out.kl_R >= -1e-3).all()
