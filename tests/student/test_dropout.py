"""Dropout on LoRA's low-rank branch: peft's values for the same mask, and masks by seed alone."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from test_student import ROLLOUTS, load, student

from esr_cli.distill.divergence import Options
from esr_cli.student import snapshot
from esr_cli.student.adapted import SeededDropout, kept, read_through
from esr_cli.student.student import Objective

RATE = 0.25


class Masked(torch.nn.Module):
    """A dropout of peft's layer whose mask is given."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask / (1 - RATE)


def adapted(dtype: torch.dtype) -> Linear:
    torch.manual_seed(0)
    base = torch.nn.Linear(24, 16).to(dtype)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=RATE)
    layer = Linear(base, "default", config, r=4, lora_alpha=8)
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    return layer


def results(layer: Linear, x: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of the input and of both factors."""
    x = x.clone().requires_grad_()
    output = layer(x)
    output.float().sin().sum().backward()
    factors = [getattr(layer, name)["default"].weight.grad for name in ("lora_A", "lora_B")]
    return [output.detach(), x.grad, *factors]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_the_same_mask_gives_the_values_and_gradients_of_peft(dtype, close):
    x = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours, theirs = adapted(dtype), adapted(dtype)
    seeded = ours.lora_dropout["default"] = SeededDropout(RATE)
    seeded.draw("a key")
    merged = ours.base_layer.weight.detach() + ours.get_delta_weight("default").to(dtype)
    read_through(ours, merged, "default")
    theirs.lora_dropout["default"] = Masked(kept(x, seeded.seed, RATE))
    found, expected = results(ours, x), results(theirs, x)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).float().norm() < close * other.float().norm()
    # Without training nothing is dropped, as in peft.
    theirs.lora_dropout["default"] = torch.nn.Identity()
    whole, plain = ours.eval()(x), theirs(x)
    assert (whole - plain).float().norm() < close * plain.float().norm()
    assert (whole - found[0]).float().norm() > 0.05 * plain.float().norm()


def test_masks_drop_their_share_and_differ_by_key():
    x = torch.randn(400, 500)
    dropout = SeededDropout(RATE)
    masks, objective = {}, Objective(Options(), seed=1)
    other_seed = Objective(Options(), seed=2).dropout_key(3, 0)
    # Another layer, step, micro-batch and run seed.
    drawn = [f"{objective.dropout_key(3, 0)}/{layer}" for layer in "ab"]
    drawn += [f"{objective.dropout_key(*place)}/a" for place in ((4, 0), (3, 1))]
    for key in (*drawn, f"{other_seed}/a"):
        dropout.draw(key)
        masks[key] = kept(x, dropout.seed, RATE)
        assert sorted(masks[key].unique().tolist()) == [0, 1]
        # Five standard errors of a share of 200,000 values.
        assert float(masks[key].mean()) == pytest.approx(1 - RATE, abs=0.005)
        assert torch.equal(dropout(x), x * masks[key] / (1 - RATE))
    one, *others = masks.values()
    assert len(others) == 4
    for other in others:
        assert float((one == other).float().mean()) == pytest.approx(
            RATE**2 + (1 - RATE) ** 2, abs=0.006
        )
    dropout.draw(drawn[0])
    assert torch.equal(kept(x, dropout.seed, RATE), one)


def made(tiny_pair, teacher, **tune):
    settings = {"method": "lora", "rank": 4, "alpha": 8, "micro_batch_tokens": 40, **tune}
    return student(tiny_pair, teacher, model=load(tiny_pair), **settings)


def train(trained, teacher, steps):
    return [
        trained.update(ROLLOUTS, teacher.score(ROLLOUTS), step).metrics["train/loss"]
        for step in steps
    ]


def test_a_resumed_run_with_dropout_equals_an_unbroken_one(tiny_pair, teacher, tmp_path):
    unbroken = made(tiny_pair, teacher, dropout=RATE)
    train(unbroken, teacher, [0])
    folder = snapshot.save(tmp_path, 1, unbroken, keep=1)
    last = train(unbroken, teacher, [1, 2])
    resumed = made(tiny_pair, teacher, dropout=RATE)
    # Another history: neither the steps taken nor the random state may matter.
    torch.rand(7)
    train(resumed, teacher, [5])
    snapshot.restore(folder, resumed)
    torch.rand(7)
    assert train(resumed, teacher, [1, 2]) == last
    for name, parameter in unbroken.parameters.items():
        assert torch.equal(parameter, resumed.parameters[name]), name
    # At first the adapters add nothing, so only the second loss shows the dropout.
    assert train(made(tiny_pair, teacher), teacher, [0, 1])[1] != last[0]


def test_recomputation_sees_the_same_masks(tiny_pair, teacher):
    plain, saving = (
        made(tiny_pair, teacher, dropout=RATE, gradient_checkpointing=on) for on in (False, True)
    )
    for step in range(2):
        one, other = (
            each.update(ROLLOUTS, teacher.score(ROLLOUTS), step).metrics for each in (plain, saving)
        )
        assert one["train/loss"] == pytest.approx(other["train/loss"], 1e-6)
        assert one["train/grad_norm"] == pytest.approx(other["train/grad_norm"], 1e-5)
