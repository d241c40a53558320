"""Both engines against transformers' forward: the same tokens and log-probabilities."""

from __future__ import annotations

import importlib.util
from itertools import chain

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from esr_cli.rollout.eager import EagerEngine
from esr_cli.types import Prompt, Sampling, in_order

EOS = 2
# 999 is beyond the model's vocabulary, as padding rows of another checkpoint could be.
MASKED = (*range(40, 100), 999)
SAMPLING = Sampling(12, temperature=0.7, stop_ids=(EOS,), samples=2, seed=3)


def prompt(number, length=20):
    stream = torch.Generator().manual_seed(number)
    ids = tuple(torch.randint(3, 100, (length,), generator=stream).tolist())
    return Prompt(f"p{number}", "", ids, ids)


PROMPTS = [prompt(i, 10 + 7 * i) for i in range(4)]


def reference_gap(model, rollouts, temperature):
    """The largest difference between the engine's log-probabilities and a plain forward pass."""
    worst = 0.0
    for rollout in rollouts:
        start = len(rollout.prompt.student_ids)
        ids = torch.tensor([rollout.prompt.student_ids + rollout.response_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, start - 1 : -1]
        tokens = torch.tensor(rollout.response_ids)[:, None]
        expected = (logits / temperature).log_softmax(-1).gather(-1, tokens)[:, 0]
        worst = max(worst, (expected - torch.tensor(rollout.logprobs)).abs().max().item())
    return worst


def perturbed(path):
    """The same model with every weight perturbed: as a model, and as named tensors."""
    torch.manual_seed(9)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model, {name: p.detach() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def vllm(tiny_pair):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    from esr_cli.rollout.vllm import VllmEngine

    before = torch.get_rng_state()
    engine = VllmEngine(str(tiny_pair / "student"), "float32", 512, 32, masked_ids=MASKED)
    assert torch.equal(before, torch.get_rng_state()), "starting vLLM perturbed the random state"
    return engine


@pytest.fixture(scope="module")
def eager(tiny_pair):
    return EagerEngine(str(tiny_pair / "student"), "float32", 3, masked_ids=MASKED)


@pytest.fixture(params=["eager", "vllm"])
def engine(request, tiny_pair):
    fresh = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    engine = request.getfixturevalue(request.param)
    engine.load_weights({name: p.detach() for name, p in fresh.named_parameters()})
    return engine


def test_logprobs_are_those_of_the_model(engine, tiny_pair):
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    rollouts = engine.generate(PROMPTS, SAMPLING)
    assert [(r.prompt.id, r.sample) for r in rollouts][:3] == [("p0", 0), ("p0", 1), ("p1", 0)]
    assert reference_gap(model, rollouts, 0.7) < 1e-4


def test_a_seed_determines_the_response_in_any_batch(engine):
    together = engine.generate(PROMPTS, SAMPLING)
    assert engine.generate(PROMPTS, SAMPLING) == together
    alone = engine.generate(PROMPTS[2:3], SAMPLING)
    assert [r.response_ids for r in alone] == [r.response_ids for r in together[4:6]]
    later = engine.generate(PROMPTS, SAMPLING.at(1))
    assert [r.response_ids for r in later] != [r.response_ids for r in together]
    assert together[0].response_ids != together[1].response_ids


def test_a_seed_for_the_batch_repeats_the_same_batch(vllm):
    """Without disturbing the random state of its process; samples of a prompt differ."""
    fields = ("prompt", "response_ids", "logprobs")

    def sampled(sampling):
        vllm.llm.reset_prefix_cache()  # as weights that are handed over do
        found = vllm.generate(PROMPTS, sampling)
        return [tuple(getattr(each, name) for name in fields) for each in found]

    vllm.by_response, before = False, torch.get_rng_state()
    try:
        together = sampled(SAMPLING)
        torch.manual_seed(77)
        assert sampled(SAMPLING) == together
        later = sampled(SAMPLING.at(1))
    finally:
        vllm.by_response = True
        torch.set_rng_state(before)
    texts = [ids for _, ids, _ in together]
    assert texts[0] != texts[1] and texts != [ids for _, ids, _ in later]
    assert texts != [each.response_ids for each in vllm.generate(PROMPTS, SAMPLING)]


def test_new_weights_are_loaded_and_the_prefix_cache_is_reset(engine, tiny_pair):
    # Longer than a cache block, so that a stale prefix would be reused.
    long = [prompt(i, 300) for i in range(2)]
    engine.generate(long, SAMPLING)
    model, weights = perturbed(tiny_pair / "student")
    engine.load_weights(weights)
    assert reference_gap(model, engine.generate(long, SAMPLING), 0.7) < 1e-4


def test_a_tied_embedding_reaches_the_output_head(engine, tiny_pair):
    """It must change embedding and head; vLLM on the CPU has a packed copy of the head."""
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight.mul_(1.5)
    engine.load_weights({name: p.detach() for name, p in model.named_parameters()})
    assert reference_gap(model, engine.generate(PROMPTS, SAMPLING), 0.7) < 1e-4


def test_the_end_of_text_is_part_of_the_response(engine):
    many = Sampling(200, 2.0, stop_ids=(EOS,), samples=8)
    ended = [r for r in engine.generate(PROMPTS, many) if r.finish == "stop"]
    assert ended
    for rollout in ended:
        assert rollout.response_ids[-1] == EOS and EOS not in rollout.response_ids[:-1]
        assert len(rollout.logprobs) == len(rollout.response_ids)


def test_a_call_may_hold_more_prompt_tokens_than_one_prefill(engine):
    many = [prompt(i, 150) for i in range(40)]
    rollouts = engine.generate(many, Sampling(3, 0.7, seed=1))
    assert len(rollouts) == 40 and all(len(r.response_ids) == 3 for r in rollouts)


def test_greedy_equals_transformers(eager, tiny_pair):
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    eager.load_weights({name: p.detach() for name, p in model.named_parameters()})
    found = eager.generate(PROMPTS[:1], Sampling(10, temperature=0.0))[0].response_ids
    ids = torch.tensor([PROMPTS[0].student_ids])
    expected = model.generate(ids, do_sample=False, max_new_tokens=10, eos_token_id=None)
    assert found == tuple(expected[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_smallest_top_k_and_top_p_are_greedy(eager, cut):
    greedy = eager.generate(PROMPTS, Sampling(6, temperature=0.0))
    narrow = eager.generate(PROMPTS, Sampling(6, temperature=1.0, **cut))
    assert [r.response_ids for r in narrow] == [r.response_ids for r in greedy]
    assert all(lp == pytest.approx(0, abs=1e-6) for r in narrow for lp in r.logprobs)


def test_the_tokenizer_round_trips_lab_text(tiny_pair):
    tokenizer = AutoTokenizer.from_pretrained(tiny_pair / "student")
    text = "plan : careful , one by one . \n a : 6 + 5 = 4 ;"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_each_response_keeps_to_its_own_length(engine, tiny_pair):
    """With mixed lengths, each response is a prefix of the full one and ends at its limit."""
    endless = Sampling(40, temperature=0.7, samples=2, seed=3)
    full = engine.generate(PROMPTS, endless)
    limits = [3, 40, 3, 1, 7, 3, 3, 25]
    groups = list(engine.finished(PROMPTS, endless.at(0, limits)))
    # Those that end at the same token come together, before the longer ones of a batch.
    assert len(groups) >= len(set(limits))
    assert all(len({len(r.response_ids) for _, r in each}) == 1 for each in groups)
    mixed = in_order(chain(*groups))
    assert [len(r.response_ids) for r in mixed] == limits
    assert all(r.finish == "length" for r in mixed)
    for short, long in zip(mixed, full, strict=True):
        assert short.response_ids == long.response_ids[: len(short.response_ids)]
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    assert reference_gap(model, mixed, 0.7) < 1e-4


def test_limits_need_one_length_per_response():
    with pytest.raises(AssertionError):
        SAMPLING.at(0, [1, 2]).limits(8)


def test_masked_tokens_are_never_sampled_and_the_rest_is_renormalized(engine, tiny_pair):
    sampling = Sampling(30, temperature=1.5, samples=2, seed=3, shared_only=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    model.lm_head.register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.tensor(MASKED[:-1]), -torch.inf)
    )
    rollouts = engine.generate(PROMPTS, sampling)
    drawn = {token for r in rollouts for token in r.response_ids}
    assert not drawn & set(MASKED) and len(drawn) > 10
    assert reference_gap(model, rollouts, 1.5) < 1e-4
    # An evaluation samples without the mask.
    free = engine.generate(PROMPTS, Sampling(30, temperature=1.5, samples=2, seed=3))
    assert {token for r in free for token in r.response_ids} & set(MASKED)
