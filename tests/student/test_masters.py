"""Full fine-tuning of bf16 weights with fp32 masters and without, on known answers."""

from __future__ import annotations

import pytest
import torch
from test_student import ROLLOUTS, load, student

from esr_cli.config import TuneConfig
from esr_cli.student import checkpoint, snapshot, tuning


def moved(master: str, rate: float, steps: int) -> float:
    """How far a bf16 weight of 1.0 comes by AdamW's steps of size `rate` towards zero."""
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(layer.weight)
    made = tuning.make(layer, TuneConfig(method="full", master=master))
    optimizer = torch.optim.AdamW(
        made.trainable().values(), lr=rate, weight_decay=0.0, betas=(0.9, 0.95), fused=True
    )
    for _ in range(steps):
        layer(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        made.collect()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        made.publish()
    return 1 - float(made.merged()["weight"])


def test_a_step_below_half_a_spacing_is_lost_without_masters():
    """Below 1.0 bf16 numbers lie 2^-8 apart; the gradient is constant, so a step is the rate."""
    spacing, rate = 2**-8, 2**-10
    assert [moved("none", rate, steps) for steps in (1, 2, 40)] == [0, 0, 0]
    # Two steps reach half a spacing, a tie that goes to the even number 1.0; 40 make 10 spacings.
    assert [moved("float32", rate, steps) for steps in (1, 3)] == [0, spacing]
    assert moved("float32", rate, 40) == pytest.approx(10 * spacing, abs=spacing)
    # A step of more than half a spacing is not lost.
    assert moved("none", 0.6 * spacing, 1) == spacing


def test_weights_and_moments_have_the_type_of_the_model(tiny_pair, teacher):
    made = student(tiny_pair, teacher, model=load(tiny_pair).bfloat16(), master="none")
    made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)
    types = {p.dtype for p in made.parameters.values()}
    types |= {
        entries[name].dtype
        for entries in made.optimizer.state.values()
        for name in ("exp_avg", "exp_avg_sq")
    }
    assert types == {torch.bfloat16}
    # fp32 weights are their own masters, so that the setting changes nothing.
    one, other = (student(tiny_pair, teacher, master=name) for name in ("none", "float32"))
    for each in (one, other):
        each.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)
    assert all(torch.equal(p, other.parameters[name]) for name, p in one.parameters.items())


@pytest.mark.parametrize("master", ["none", "float32"])
def test_a_resumed_run_in_bf16_equals_an_unbroken_one(master, tiny_pair, teacher, tmp_path):
    def fresh():
        return student(tiny_pair, teacher, model=load(tiny_pair).bfloat16(), master=master)

    def train(made, steps):
        for step in steps:
            made.update(ROLLOUTS, teacher.score(ROLLOUTS), step)

    unbroken, resumed = fresh(), fresh()
    train(unbroken, range(2))
    folder = snapshot.save(tmp_path, 2, unbroken, keep=1)
    train(unbroken, range(2, 4))
    snapshot.restore(folder, resumed)
    train(resumed, range(2, 4))
    assert all(torch.equal(p, resumed.parameters[name]) for name, p in unbroken.parameters.items())
    saved = checkpoint.read_tensors(folder)["weight/model.norm.weight"]
    assert saved.dtype == (torch.bfloat16 if master == "none" else torch.float32)


def test_a_checkpoint_without_masters_is_evaluated_in_fp32(tiny_pair, teacher, tmp_path):
    """As on a CPU, where `pair.dtype=auto` is fp32, of a run that was trained on a GPU."""
    trained = student(tiny_pair, teacher, model=load(tiny_pair).bfloat16(), master="none")
    folder = snapshot.save(tmp_path, 1, trained, keep=1)
    found = snapshot.merged(folder, tuning.FullTuning(load(tiny_pair), masters=False))
    for name, weight in trained.weights().items():
        assert torch.equal(found[name], weight.float()), name
