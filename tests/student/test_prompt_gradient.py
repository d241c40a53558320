"""tune.prompt_gradient=false: the gradient with the prompts' keys and values held constant."""

from __future__ import annotations

import pytest
import torch
from test_student import ROLLOUTS, gradients, load, student
from transformers import DynamicCache

from esr_cli.config import ConfigError, TuneConfig
from esr_cli.distill.divergence import divergence
from esr_cli.models import loading

FULL = {"method": "full", "master": "none", "clip_norm": 1e9, "beta1": 0.9}
# With one layer, all that a prompt changes through these is its own states.
WITHOUT_KEYS = {
    "method": "lora", "targets": ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "clip_norm": 1e9, "beta1": 0.9,
}  # fmt: skip


def one_layer(tiny_pair):
    model = load(tiny_pair).double()
    del model.model.layers[1:]
    model.config.num_hidden_layers = 1
    return model


def close(one, other) -> bool:
    """Whether each weight's gradients differ by rounding: some steps of these models are fp32."""
    assert list(one) == list(other)
    return all((one[name] - other[name]).norm() <= 1e-5 * other[name].norm() for name in one)


def reference(tiny_pair, teacher) -> dict[str, torch.Tensor]:
    """The gradient, rollout by rollout, with a library's cache that was filled without gradient."""
    made = student(tiny_pair, teacher, model=load(tiny_pair).double(), **FULL)
    model, scores, total, start = made.model, teacher.score(ROLLOUTS), 0, 0
    for rollout in ROLLOUTS:
        prompt, response = rollout.prompt.student_ids, rollout.response_ids
        cache = DynamicCache()
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt[:-1]]), past_key_values=cache, use_cache=True)
        ids = torch.tensor([prompt[-1:] + response[:-1]])
        states_RD = model.base_model(input_ids=ids, past_key_values=cache).last_hidden_state[0]
        rows = slice(start, start := start + len(response))
        loss, _ = divergence(
            (states_RD, loading.head_of(model)), (scores.hidden_RD[rows], teacher.head()),
            torch.tensor(response), torch.ones(len(response)), made.objective.options,
        )  # fmt: skip
        total = total + loss
    (total / start).backward()
    return {name: p.grad.clone() for name, p in made.parameters.items()}


def test_the_gradient_is_that_with_constant_prompts(tiny_pair, teacher):
    expected = reference(tiny_pair, teacher)
    for tokens in (10**6, 1, 40):
        made = student(
            tiny_pair, teacher, model=load(tiny_pair).double(), prompt_gradient=False,
            micro_batch_tokens=tokens, **FULL,
        )  # fmt: skip
        found = gradients(made, ROLLOUTS, teacher)
        assert close(found, expected), tokens
    plain = student(tiny_pair, teacher, model=load(tiny_pair).double(), **FULL)
    assert not close(gradients(plain, ROLLOUTS, teacher), expected)


def test_it_is_the_whole_gradient_if_no_key_or_value_depends_on_what_trains(tiny_pair, teacher):
    """One layer of frozen keys and values; in a second layer they depend on the first."""
    for model, equal in ((one_layer, True), (lambda pair: load(pair).double(), False)):
        one, other = (
            gradients(
                student(tiny_pair, teacher, model=model(tiny_pair), prompt_gradient=on,
                        **WITHOUT_KEYS),
                ROLLOUTS, teacher,
            )
            for on in (True, False)
        )  # fmt: skip
        assert close(one, other) == equal


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_loss_is_the_same_and_only_the_gradient_differs(tiny_pair, teacher, method):
    one, other = (
        student(tiny_pair, teacher, method=method, prompt_gradient=on).update(
            ROLLOUTS, teacher.score(ROLLOUTS), 0
        )
        for on in (True, False)
    )
    for name in ("train/loss", "train/reverse_kl", "rollout/logprob_gap_mean"):
        assert one.metrics[name] == pytest.approx(other.metrics[name], 1e-5), name
    for ours, theirs in zip(one.kl_by_rollout, other.kl_by_rollout, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_prompts_without_gradient_take_dropout_and_repeat_its_masks(tiny_pair, teacher):
    norms = [
        student(
            tiny_pair, teacher, method="lora", dropout=0.5, prompt_gradient=False
        ).update(ROLLOUTS, teacher.score(ROLLOUTS), step).metrics["train/grad_norm"]
        for step in (0, 0, 1)
    ]  # fmt: skip
    assert norms[0] == norms[1] != norms[2]


def test_a_model_that_cannot_continue_after_prompts_is_refused(tiny_pair, teacher):
    model = load(tiny_pair)
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(ConfigError, match=r"tune\.prompt_gradient=false: this student"):
        student(tiny_pair, teacher, model=model, prompt_gradient=False)


def test_layers_that_are_recomputed_or_compiled_keep_no_prompts():
    with pytest.raises(ConfigError, match=r"tune\.compile=True"):
        TuneConfig(prompt_gradient=False, compile=True)
    with pytest.raises(ConfigError, match=r"tune\.gradient_checkpointing=True"):
        TuneConfig(prompt_gradient=False, gradient_checkpointing=True)
