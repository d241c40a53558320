"""Responses that share their prompt's pass: the step of one row per response, in float64."""

from __future__ import annotations

from dataclasses import replace
from types import MethodType

import pytest
import torch
from test_student import gradients, rollout, student
from transformers import AutoConfig, AutoModelForCausalLM

from esr_cli.config import TuneConfig
from esr_cli.distill.divergence import Options
from esr_cli.models import loading
from esr_cli.student.student import Objective, Student
from esr_cli.types import HiddenScores, ScoresByTeacher

LENGTHS = (7, 1, 12, 4, 1, 9, 3, 2)
SMALL = {
    "vocab_size": 120, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
MODELS = {
    "llama": {},
    "qwen3": {},
    # Shorter than a prompt and than most responses.
    "gemma3_text": {
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"],
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    },
}  # fmt: skip


def responses(per_prompt, prompts=2):
    """Rollouts of two prompts in turn, of unequal lengths."""
    found = []
    for sample in range(per_prompt):
        for number in range(prompts):
            own = rollout(10 * sample + number, LENGTHS[(sample + number) % 8], 4)
            found.append(replace(own, prompt=rollout(number + 2, 1, 4).prompt, sample=sample))
    return found


def norm_in_double(self, x):
    """transformers' RMSNorm, which rounds to fp32, in the type of `x`."""
    eps = getattr(self, "variance_epsilon", None) or self.eps
    scale = self.weight + 1 if "Gemma" in type(self).__name__ else self.weight
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), scale, eps)


def double(kind, **tune):
    torch.manual_seed(0)
    shape = AutoConfig.for_model(kind, **SMALL | MODELS[kind])
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float64).eval()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(norm_in_double, module)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    head = loading.head_of(model)
    head = replace(head, weight_VD=torch.randn_like(head.weight_VD) * 0.1)
    settings = {"beta1": 0.9, "clip_norm": 1e9, "rank": 4, "master": "none", **tune}
    if tune["method"] == "lora":
        del settings["master"]
    objective = Objective(Options(sampling_temperature=0.7, tile_tokens=8))
    made = Student(model, {"": head, "other": head}, TuneConfig(**settings), objective, 10)
    with torch.no_grad():
        for name, parameter in made.parameters.items():
            if ".lora_B" in name:
                parameter.normal_(std=0.1)
    made.tuning.publish()
    return made


def took(made, rollouts, shares, scores=None):
    """The update and its gradients; `shares` off reads every response in a row of its own."""
    assert made.reader.shares
    made.reader.shares = shares
    rows = sum(len(r.response_ids) for r in rollouts)
    stream = torch.Generator().manual_seed(3)
    states = torch.randn(rows, 64, dtype=torch.float64, generator=stream)
    update = made.update(rollouts, scores or HiddenScores(states), 0)
    state = made.optimizer.state
    return update, {name: state[p]["exp_avg"] * 10 for name, p in made.parameters.items()}


def same(one, other, limit=1e-10):
    (ours, our_gradients), (theirs, their_gradients) = one, other
    for name, value in theirs.metrics.items():
        # Means are taken in fp32.
        assert ours.metrics[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    for a, b in zip(ours.kl_by_rollout, theirs.kl_by_rollout, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-10)
    for name, gradient in their_gradients.items():
        assert (our_gradients[name] - gradient).abs().max() <= limit * gradient.abs().max(), name


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", MODELS)
def test_gradients_and_figures_are_those_of_one_row_per_response(kind, method):
    for per_prompt in (1, 2, 8):
        rollouts = responses(per_prompt)
        expected = took(double(kind, method=method), rollouts, shares=False)
        for tokens in (10**6, 60, 1):
            made = double(kind, method=method, micro_batch_tokens=tokens)
            rows = made.reader.rows(rollouts, tokens, len(rollouts))
            assert max(map(len, rows)) > 1 or per_prompt == 1 or tokens == 1
            same(took(made, rollouts, shares=True), expected)


def test_checkpointing_and_prompts_that_train_differently_from_how_they_were_sampled():
    rollouts = [
        replace(r, prompt=replace(r.prompt, before_ids=(5, 6, 7))) for r in responses(3)[:5]
    ] + responses(3)[5:]
    expected = took(double("gemma3_text", method="full"), rollouts, shares=False)
    made = double("gemma3_text", method="full", gradient_checkpointing=True)
    # The last response to the second prompt does not follow the same tokens.
    assert sorted(map(len, made.reader.rows(rollouts, 10**6, 9))) == [1, 2, 3]
    same(took(made, rollouts, shares=True), expected)


def test_responses_of_different_teachers_do_not_share_a_row():
    rollouts = responses(4)
    rollouts = [
        replace(r, prompt=replace(r.prompt, teacher="other" if i % 3 else ""))
        for i, r in enumerate(rollouts)
    ]
    parts = {}
    for name in ("", "other"):
        count = sum(len(r.response_ids) for r in rollouts if r.prompt.teacher == name)
        parts[name] = HiddenScores(torch.randn(count, 64, dtype=torch.float64))
    scores = ScoresByTeacher(parts)
    expected = took(double("qwen3", method="full"), rollouts, False, scores)
    made = double("qwen3", method="full")
    for row in made.reader.rows(rollouts, 10**6, 9):
        assert len({(rollouts[i].prompt.id, rollouts[i].prompt.teacher) for i in row}) == 1
    same(took(made, rollouts, True, scores), expected)


def test_a_head_that_does_not_split_shares_prompts_too():
    rollouts = responses(3)
    steps = []
    for shares in (False, True):
        made = double("llama", method="full")
        made.splits = made.reader.splits = False
        steps.append(took(made, rollouts, shares))
    same(steps[1], steps[0])


def test_compiled_layers_take_the_mask(tiny_pair, teacher):
    plain, fused = (student(tiny_pair, teacher, compile=on) for on in (False, True))
    rollouts = responses(3)
    one, other = (made.update(rollouts, teacher.score(rollouts), 0) for made in (plain, fused))
    for name in ("train/loss", "train/grad_norm"):
        assert one.metrics[name] == pytest.approx(other.metrics[name], 1e-4), name


def test_dropout_draws_one_mask_for_the_tokens_of_a_prompt(tiny_pair, teacher):
    """Recomputation repeats it, and a step depends on its seed alone."""
    rollouts, norms = responses(3), []
    tune = {"method": "lora", "rank": 4, "dropout": 0.25, "clip_norm": 1e9, "beta1": 0.9}
    for on in (False, True, False):
        made = student(tiny_pair, teacher, gradient_checkpointing=on, **tune)
        gradients(made, rollouts, teacher)
        norms.append(made.update(rollouts, teacher.score(rollouts), 1).metrics["train/grad_norm"])
    assert norms[0] == norms[2] == pytest.approx(norms[1], rel=1e-5)


def test_a_step_whose_responses_are_all_empty_is_skipped(tiny_pair, teacher):
    full = rollout(3, 6, 4)
    empty = [replace(full, response_ids=(), logprobs=(), sample=sample) for sample in range(2)]
    hidden_RD = teacher.score([full]).hidden_RD[:0]
    done = student(tiny_pair, teacher).update(empty, HiddenScores(hidden_RD), 0)
    assert "no position counts" in done.skipped


def test_prompts_that_are_read_first_leave_a_row_to_each_response(tiny_pair, teacher):
    """Their responses are padded to the longest, which a shared row's length does not count."""
    rollouts = responses(4)
    made = student(tiny_pair, teacher, prompt_gradient=False)
    assert made.reader.shares
    assert made.reader.rows(rollouts, 16384, 8) == [[i] for i in range(len(rollouts))]
    shared = student(tiny_pair, teacher).reader.rows(rollouts, 16384, 8)
    assert sorted(map(len, shared)) == [4, 4]
