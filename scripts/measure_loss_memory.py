"""Measures peak memory and time of the loss at the sizes of a real pair.

    python scripts/measure_loss_memory.py [R]

R response positions (default 16,000), V=151,936, D=1,536, a teacher of D=2,048, fp32, and one
backward pass to the hidden states, as with LoRA. The default takes minutes on a few CPU cores. The
script also prints an estimate of the memory for dense logits, and compares value and gradients with
a dense computation at 500 positions.
"""

from __future__ import annotations

import sys
import time

import torch

from esr_cli.base import process
from esr_cli.distill.divergence import Options, divergence
from esr_cli.distill.head import Head

V, D, TEACHER_D = 151_936, 1_536, 2_048
COMPARED = 500
LIMIT = 1e-5
# R x V arrays of a dense computation: both logits, both log-softmaxes, and one gradient.
DENSE_COPIES = 5


def inputs(count: int) -> tuple[torch.Tensor, Head, torch.Tensor, Head, torch.Tensor]:
    """Random hidden states and heads of both models, and tokens."""
    torch.manual_seed(0)
    states, other = torch.randn(count, D), torch.randn(count, TEACHER_D)
    head = Head(torch.randn(V, D) / D**0.5, None, 1.0, None)
    teacher = Head(torch.randn(V, TEACHER_D) / TEACHER_D**0.5, None, 1.0, None)
    return states, head, other, teacher, torch.randint(V, (count,))


def tiled(x: tuple[torch.Tensor, Head, torch.Tensor, Head, torch.Tensor]) -> torch.Tensor:
    """The summed reverse KL, followed by its gradient with respect to the states."""
    states, head, other, teacher, tokens = x
    states = states.detach().requires_grad_()
    ones = torch.ones(len(tokens))
    loss, _ = divergence((states, head), (other, teacher), tokens, ones, Options())
    loss.backward()
    assert states.grad is not None
    return torch.cat([loss.detach()[None], states.grad.flatten()])


def dense(x: tuple[torch.Tensor, Head, torch.Tensor, Head, torch.Tensor]) -> torch.Tensor:
    """The same by autograd through dense logits."""
    states, head, other, teacher, _ = x
    states = states.detach().requires_grad_()
    log_q = (states @ head.weight_VD.T).log_softmax(-1)
    log_p = (other @ teacher.weight_VD.T).log_softmax(-1)
    loss = (log_q.exp() * (log_q - log_p)).sum()
    loss.backward()
    assert states.grad is not None
    return torch.cat([loss.detach()[None], states.grad.flatten()])


def main() -> int:
    """Returns 1 if the two computations do not agree."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 16_000
    x = inputs(count)
    process.reset_peak()
    before, began = process.peak_gib(), time.perf_counter()
    tiled(x)
    above = process.peak_gib() - before
    print(
        f"R={count:,} V={V:,} D={D:,}: {above:.2f} GiB above its inputs, "
        f"{time.perf_counter() - began:.0f} s; dense logits would take "
        f"{DENSE_COPIES * count * V * 4 / 2**30:.0f} GiB"
    )
    small = inputs(COMPARED)
    ours, theirs = tiled(small), dense(small)
    value = abs(ours[0] - theirs[0]) / abs(theirs[0])
    slope = (ours[1:] - theirs[1:]).norm() / theirs[1:].norm()
    print(f"R={COMPARED}: value {value:.1e} and gradient {slope:.1e} apart, relative")
    return int(max(value, slope) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
