"""The objective in a step: selected positions, output heads of any kind, bf16 master weights."""

from __future__ import annotations

import math

import pytest
import torch
from test_student import ROLLOUTS, gradients, load, snapshot, student

from esr_cli.distill.positions import Rule
from esr_cli.types import HiddenScores, Rollout


def cut(rollout: Rollout, n: int) -> Rollout:
    ids, logprobs = rollout.response_ids[:n], rollout.logprobs[:n]
    return Rollout(rollout.prompt, rollout.sample, ids, logprobs, rollout.finish)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "sequence_sum"])
def test_masking_full_rollouts_to_n_gives_the_gradient_of_stopping_at_n(
    reduction, tiny_pair, teacher
):
    """ESR only avoids the cost of the masked positions; the gradient is the same."""
    n, unclipped = 4, {"clip_norm": 1e9}
    masked = student(
        tiny_pair, teacher, rule=Rule("window", end=n), reduction=reduction, **unclipped
    )  # fmt: skip
    stopped = student(tiny_pair, teacher, reduction=reduction, **unclipped)
    one = gradients(masked, ROLLOUTS, teacher)
    other = gradients(stopped, [cut(r, n) for r in ROLLOUTS], teacher)
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-7), name
    # It differs from the gradient of the full rollouts.
    full = gradients(
        student(tiny_pair, teacher, reduction=reduction, **unclipped), ROLLOUTS, teacher
    )
    assert any(not torch.allclose(one[n], full[n], rtol=1e-2, atol=1e-5) for n in one)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("top", keep=3),
        Rule("top", keep=3, by=("forward_kl", "student_entropy")),
        Rule("random", keep=3),
        Rule("middle", keep=3),
        Rule(shape="cumulative_kl"),
        # An untrained teacher has low confidence everywhere.
        Rule("confident", confidence=0.013),
    ],
)
def test_selected_positions_do_not_depend_on_micro_batches(rule, tiny_pair, teacher):
    unclipped = {"clip_norm": 1e9}
    full = student(tiny_pair, teacher, rule=rule, micro_batch_tokens=10**6, **unclipped)
    single = student(tiny_pair, teacher, rule=rule, micro_batch_tokens=1, **unclipped)
    one, other = (gradients(made, ROLLOUTS, teacher) for made in (full, single))
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-7), name


def test_the_positions_of_the_highest_forward_kl_are_trained(tiny_pair, teacher):
    """Two positions of each response, found from both models' logits in float64."""
    models, expected = (load(tiny_pair).double(), load(tiny_pair, "teacher").double()), []
    for r in ROLLOUTS:
        logs = []
        for model, prompt in zip(models, (r.prompt.student_ids, r.prompt.teacher_ids), strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + r.response_ids])).logits[0]
            logs.append(logits[len(prompt) - 1 : -1].log_softmax(-1))
        log_q, log_p = logs
        forward_R = (log_p.exp() * (log_p - log_q)).sum(-1)
        best = forward_R.topk(min(2, len(forward_R))).indices
        expected += (log_q.exp() * (log_q - log_p)).sum(-1)[best].tolist()
    made = student(tiny_pair, teacher, rule=Rule("top", keep=2, by=("forward_kl",)))
    found = made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0).metrics["train/loss"]
    assert len(expected) == 7 and found == pytest.approx(sum(expected) / 7, 1e-5)


def test_the_kept_share_is_reported(tiny_pair, teacher):
    made = student(tiny_pair, teacher, rule=Rule("top", keep=3))
    update = made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)
    assert update.metrics["train/kept"] == pytest.approx((3 + 1 + 3 + 3) / 24)
    assert update.metrics["train/k3"] >= 0


def test_positions_not_aligned_with_the_teacher_do_not_count(tiny_pair, teacher):
    """Arbitrary rows at unaligned positions do not change loss, gradient or metrics."""
    unclipped = {"clip_norm": 1e9}
    scores = teacher.score(ROLLOUTS)
    aligned = torch.ones(24, dtype=torch.bool)
    aligned[[2, 7, 20]] = False
    corrupted = scores.hidden_RD.clone()
    corrupted[~aligned] = 1e6
    made = [student(tiny_pair, teacher, **unclipped) for _ in range(2)]
    one = made[0].update(ROLLOUTS, HiddenScores(corrupted, aligned), 0)
    other = made[1].update(ROLLOUTS, HiddenScores(scores.hidden_RD, aligned), 0)
    assert one.metrics == other.metrics
    assert one.metrics["align/coverage"] == pytest.approx(21 / 24)
    flat = [kl for row in one.kl_by_rollout for kl in row]
    assert [i for i, kl in enumerate(flat) if math.isnan(kl)] == [2, 7, 20]
    for name, value in snapshot(made[0]).items():
        assert torch.equal(value, made[1].parameters[name]), name


def test_no_aligned_position_at_all_skips_the_step(tiny_pair, teacher):
    made = student(tiny_pair, teacher)
    before = snapshot(made)
    none = HiddenScores(teacher.score(ROLLOUTS).hidden_RD, torch.zeros(24, dtype=torch.bool))
    assert made.update(ROLLOUTS, none, 0).skipped
    assert all(torch.equal(p, before[name]) for name, p in made.parameters.items())


class Doubled(torch.nn.Linear):
    """An output head that is not a plain projection."""

    def forward(self, hidden):
        return super().forward(hidden) * 2 + hidden.mean(-1, keepdim=True)


def test_a_head_that_is_not_a_projection_trains_through_its_logits(tiny_pair, teacher):
    custom = load(tiny_pair)
    head = Doubled(64, 108, bias=False)
    head.weight = custom.lm_head.weight
    custom.lm_head = head
    made = student(tiny_pair, teacher, model=custom, clip_norm=1e9)
    assert not made.splits
    found = gradients(made, ROLLOUTS, teacher)
    plain = load(tiny_pair)
    plain.lm_head = head
    head.weight = plain.model.embed_tokens.weight
    total = 0
    for r in ROLLOUTS:
        logits = plain(torch.tensor([r.prompt.student_ids + r.response_ids])).logits[0]
        log_q = logits[len(r.prompt.student_ids) - 1 : -1].log_softmax(-1)
        log_p = teacher.head().logits(teacher.score([r]).hidden_RD).log_softmax(-1)
        total = total + (log_q.exp() * (log_q - log_p)).sum()
    (total / 24).backward()
    for name, p in plain.named_parameters():
        assert torch.allclose(found[name], p.grad, rtol=1e-3, atol=1e-6), name


def test_small_updates_accumulate_in_the_masters_of_bf16_weights(tiny_pair, teacher):
    """One step of 1e-5 is lost in bf16 weights of 0.02; many steps are not."""
    model = load(tiny_pair).bfloat16()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    made = student(tiny_pair, teacher, model=model, learning_rate=1e-5)
    scores = teacher.score(ROLLOUTS)
    made.update(ROLLOUTS, scores, 0)
    name = "model.layers.0.self_attn.q_proj.weight"
    master = made.parameters[name]
    assert master.dtype == torch.float32 and made.weights()[name].dtype == torch.bfloat16
    assert not torch.equal(master, start[name].float())
    unchanged = (made.weights()[name] == start[name]).float().mean()
    assert unchanged > 0.5
    for step in range(1, 40):
        made.update(ROLLOUTS, scores, step)
    assert torch.equal(made.weights()[name], made.parameters[name].bfloat16())
    assert (made.weights()[name] == start[name]).float().mean() < unchanged - 0.2
