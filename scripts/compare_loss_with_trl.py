"""Compares the reverse KL of esr with two of TRL 1.16 on the same hidden states and heads.

Against `DistillationTrainer`'s tiled loss (hidden states in) and `GKDTrainer`'s dense one (logits
in, beta=1), at loss temperatures 1 and 0.7: the value, and the gradient of the hidden states and
of the head. A dense float64 computation stands beside them, as does the forward KL, which
must differ: it shows that beta=1 is KL(student || teacher) on both sides. Exits with 1 when a
relative difference is above 1e-5.

TRL is no dependency of esr; the tiled function is private to it, hence the exact version:

    pip install trl==1.16.0
    python scripts/compare_loss_with_trl.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from trl.experimental.gkd import GKDTrainer
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from esr_cli.distill.divergence import reverse_kl
from esr_cli.distill.head import Head

ROWS, VOCABULARY, STUDENT_WIDTH, TEACHER_WIDTH = 96, 4096, 64, 128
LIMIT = 1e-5

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def draw() -> Inputs:
    """Student hidden_RD and weight_VD, teacher hidden_RD and weight_VD; logits of spread 2."""
    torch.manual_seed(0)
    return (
        torch.randn(ROWS, STUDENT_WIDTH),
        torch.randn(VOCABULARY, STUDENT_WIDTH) * 2 / STUDENT_WIDTH**0.5,
        torch.randn(ROWS, TEACHER_WIDTH),
        torch.randn(VOCABULARY, TEACHER_WIDTH) * 2 / TEACHER_WIDTH**0.5,
    )


def ours(
    hidden: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor, teacher_weight: torch.Tensor,
    temperature: float,
) -> torch.Tensor:  # fmt: skip
    """esr, in tiles that do not divide the rows evenly."""
    return reverse_kl(
        hidden, Head(weight), (teacher, Head(teacher_weight)),
        torch.zeros(ROWS, dtype=torch.long), torch.full((ROWS,), 1 / ROWS),
        temperature=temperature, tile_tokens=40,
    ).loss  # fmt: skip


def trl_tiled(
    hidden: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor, teacher_weight: torch.Tensor,
    temperature: float,
) -> torch.Tensor:  # fmt: skip
    """`DistillationTrainer`, beta=1."""
    return _chunked_divergence_loss(
        hidden[None], teacher[None], weight, teacher_weight, torch.ones(1, ROWS),
        beta=1.0, num_items_in_batch=ROWS, temperature=temperature,
    )[0]  # fmt: skip


def trl_dense(
    hidden: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor, teacher_weight: torch.Tensor,
    temperature: float, beta: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """`GKDTrainer`; 1 is the reverse KL, 0 the forward one."""
    return GKDTrainer.generalized_jsd_loss(
        (hidden @ weight.T)[None], (teacher @ teacher_weight.T)[None],
        beta=beta, temperature=temperature, num_items_in_batch=ROWS,
    )  # fmt: skip


def trl_forward(
    hidden: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor, teacher_weight: torch.Tensor,
    temperature: float,
) -> torch.Tensor:  # fmt: skip
    """KL(teacher || student), which must not agree."""
    return trl_dense(hidden, weight, teacher, teacher_weight, temperature, beta=0.0)


def by_definition(
    hidden: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor, teacher_weight: torch.Tensor,
    temperature: float,
) -> torch.Tensor:  # fmt: skip
    """sum_v q (log q - log p), dense, in float64."""
    log_q = (hidden.double() @ weight.double().T / temperature).log_softmax(-1)
    log_p = (teacher.double() @ teacher_weight.double().T / temperature).log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum() / ROWS


def evaluate(loss: Loss, inputs: Inputs, temperature: float) -> list[torch.Tensor]:
    """Value, gradient of the student's hidden states, gradient of its head."""
    hidden, weight = (x.clone().requires_grad_() for x in inputs[:2])
    value = loss(hidden, weight, inputs[2], inputs[3], temperature)
    return [value.detach(), *torch.autograd.grad(value, (hidden, weight))]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a - b| / |b|, of vectors the Euclidean norm."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def main() -> int:
    """Prints a line a loss and temperature; 1 when one that should agree does not."""
    inputs, failed = draw(), False
    print(f"{'T':>4}  {'loss':28} {'nats/token':>12} {'value':>9} {'d hidden':>9} {'d head':>9}")
    for temperature in (1.0, 0.7):
        own = evaluate(ours, inputs, temperature)
        print(f"{temperature:4}  {'esr reverse_kl':28} {float(own[0]):12.8f}")
        others: dict[str, Loss] = {
            "TRL DistillationTrainer": trl_tiled,
            "TRL GKDTrainer beta=1": trl_dense,
            "by definition, float64": by_definition,
            "TRL GKDTrainer beta=0": trl_forward,
        }
        for name, loss in others.items():
            found = evaluate(loss, inputs, temperature)
            gaps = [relative(a, b) for a, b in zip(own, found, strict=True)]
            # The forward KL is the control: agreement there would mean a swapped orientation.
            wrong = min(gaps) <= LIMIT if loss is trl_forward else max(gaps) > LIMIT
            failed = failed or wrong
            shown = " ".join(f"{gap:9.1e}" for gap in gaps)
            note = "  (must differ)" if loss is trl_forward else ""
            print(f"{temperature:4}  {name:28} {float(found[0]):12.8f} {shown}{note}")
    print("DISAGREE" if failed else f"agree within {LIMIT:g}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
