"""Compares the divergences of esr with TRL 1.16's on the same hidden states and heads.

Reverse KL, forward KL and the generalised Jensen-Shannon divergence (beta 0.3), each against
`DistillationTrainer`'s tiled loss (from hidden states), `GKDTrainer`'s dense loss (from logits) and
the definition in dense float64, at loss temperatures 1 and 0.7. Compared are the value and the
gradients of the hidden states and of the head. As a control, each is also compared with the
opposite KL direction, which must differ. Exits with 1 if a relative difference is above 1e-5.

TRL is not a dependency of esr. The tiled function is private, so the exact version is required:

    pip install trl==1.16.0
    python scripts/compare_loss_with_trl.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from trl.experimental.gkd import GKDTrainer
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from esr_cli.distill.divergence import Options, divergence
from esr_cli.distill.head import Head

ROWS, VOCABULARY, STUDENT_WIDTH, TEACHER_WIDTH = 96, 4096, 64, 128
LIMIT = 1e-5
# TRL's beta: 1 is KL(student || teacher), 0 KL(teacher || student), between them Jensen-Shannon.
BETAS = {"reverse_kl": 1.0, "forward_kl": 0.0, "jensen_shannon": 0.3}


@dataclass(frozen=True)
class Inputs:
    """Student hidden_RD and weight_VD, teacher hidden_RD and weight_VD; logits of spread 2."""

    hidden: torch.Tensor
    weight: torch.Tensor
    teacher: torch.Tensor
    teacher_weight: torch.Tensor


Loss = Callable[[Inputs, float, float], torch.Tensor]


def draw() -> Inputs:
    """Random inputs from a fixed seed."""
    torch.manual_seed(0)
    return Inputs(
        torch.randn(ROWS, STUDENT_WIDTH),
        torch.randn(VOCABULARY, STUDENT_WIDTH) * 2 / STUDENT_WIDTH**0.5,
        torch.randn(ROWS, TEACHER_WIDTH),
        torch.randn(VOCABULARY, TEACHER_WIDTH) * 2 / TEACHER_WIDTH**0.5,
    )


def ours(kind: str) -> Loss:
    """esr, in tiles that do not divide the rows evenly."""

    def loss(x: Inputs, beta: float, temperature: float) -> torch.Tensor:
        options = Options(
            kind=kind, beta=beta if 0 < beta < 1 else 0.5, temperature=temperature, tile_tokens=40
        )
        return divergence(
            (x.hidden, Head(x.weight)), (x.teacher, Head(x.teacher_weight)),
            torch.zeros(ROWS, dtype=torch.long), torch.full((ROWS,), 1 / ROWS), options,
        )[0]  # fmt: skip

    return loss


def trl_tiled(x: Inputs, beta: float, temperature: float) -> torch.Tensor:
    """`DistillationTrainer`."""
    return _chunked_divergence_loss(
        x.hidden[None], x.teacher[None], x.weight, x.teacher_weight, torch.ones(1, ROWS),
        beta=beta, num_items_in_batch=ROWS, temperature=temperature,
    )[0]  # fmt: skip


def trl_dense(x: Inputs, beta: float, temperature: float) -> torch.Tensor:
    """`GKDTrainer`."""
    return GKDTrainer.generalized_jsd_loss(
        (x.hidden @ x.weight.T)[None], (x.teacher @ x.teacher_weight.T)[None],
        beta=beta, temperature=temperature, num_items_in_batch=ROWS,
    )  # fmt: skip


def by_definition(x: Inputs, beta: float, temperature: float) -> torch.Tensor:
    """The definitions as dense sums in float64."""
    log_q = (x.hidden.double() @ x.weight.double().T / temperature).log_softmax(-1)
    log_p = (x.teacher.double() @ x.teacher_weight.double().T / temperature).log_softmax(-1)
    q, p = log_q.exp(), log_p.exp()
    if beta == 1:
        return (q * (log_q - log_p)).sum() / ROWS
    if beta == 0:
        return (p * (log_p - log_q)).sum() / ROWS
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
    return (beta * p * (log_p - log_m) + (1 - beta) * q * (log_q - log_m)).sum() / ROWS


def other_way_round(x: Inputs, beta: float, temperature: float) -> torch.Tensor:
    """The control: mirrored beta, which agrees only if a direction is swapped by mistake."""
    return trl_dense(x, 1 - beta, temperature)


def evaluate(loss: Loss, x: Inputs, beta: float, temperature: float) -> list[torch.Tensor]:
    """Value, gradient of the student's hidden states, gradient of its head."""
    hidden, weight = (t.clone().requires_grad_() for t in (x.hidden, x.weight))
    value = loss(Inputs(hidden, weight, x.teacher, x.teacher_weight), beta, temperature)
    return [value.detach(), *torch.autograd.grad(value, (hidden, weight))]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a - b| / |b| in the Euclidean norm."""
    return float((a.double() - b.double()).norm() / b.double().norm())


OTHERS: dict[str, Loss] = {
    "TRL DistillationTrainer": trl_tiled,
    "TRL GKDTrainer": trl_dense,
    "by definition, float64": by_definition,
    "the other way round": other_way_round,
}


def compare(kind: str, x: Inputs, temperature: float) -> bool:
    """Prints one line per computation; True if all that should agree do."""
    beta = BETAS[kind]
    reference = evaluate(ours(kind), x, beta, temperature)
    print(f"{temperature:4}  {'esr ' + kind:28} {float(reference[0]):12.8f}")
    agrees = True
    for name, loss in OTHERS.items():
        found = evaluate(loss, x, beta, temperature)
        gaps = [relative(a, b) for a, b in zip(reference, found, strict=True)]
        control = loss is other_way_round
        agrees = agrees and (min(gaps) > LIMIT if control else max(gaps) <= LIMIT)
        shown = " ".join(f"{gap:9.1e}" for gap in gaps)
        note = "  (must differ)" if control else ""
        print(f"{temperature:4}  {name:28} {float(found[0]):12.8f} {shown}{note}")
    return agrees


def main() -> int:
    """Returns 1 if a computation that should agree does not."""
    x = draw()
    print(f"{'T':>4}  {'loss':28} {'nats/token':>12} {'value':>9} {'d hidden':>9} {'d head':>9}")
    agree = [compare(kind, x, heat) for kind in BETAS for heat in (1.0, 0.7)]
    print(f"agree within {LIMIT:g}" if all(agree) else "DISAGREE")
    return int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
