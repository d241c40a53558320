"""Both engines against transformers' forward: the same tokens and log-probabilities."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from esr_cli.models import loading
from esr_cli.rollout.eager import EagerEngine
from esr_cli.student.tuning import LoraTuning
from esr_cli.types import Prompt, Sampling

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
    mixed = engine.generate(PROMPTS, endless.at(0, limits))
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


def capped_gemma(folder):
    """A tiny Gemma-2 in which attention softcapping changes the logits."""
    torch.manual_seed(0)
    shape = AutoConfig.for_model(
        "gemma2", hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=128,
        sliding_window=64, query_pre_attn_scalar=1, attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0, max_position_embeddings=512,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    return str(folder)


def test_attention_softcapping_of_gemma_2_is_applied(tmp_path):
    """The fused kernels of transformers silently ignore softcapping; vLLM applies it."""
    path = capped_gemma(tmp_path)
    rollouts = EagerEngine(path, "float32", 8).generate(PROMPTS, SAMPLING)
    true = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    )
    fused = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="sdpa"
    )
    assert reference_gap(true, rollouts, 0.7) < 1e-4 < 1e-2 < reference_gap(fused, rollouts, 0.7)
    ours = loading.load_model(path, "float32", "cpu")
    assert reference_gap(ours, rollouts, 0.7) < 1e-4
    assert loading.head_agrees(ours, loading.head_of(ours))


def test_vllm_and_the_trainer_agree_on_gemma_2(tmp_path):
    """In a separate process: one process can hold one vLLM engine."""
    pytest.importorskip("vllm")
    code = (
        "import sys, test_rollout as t\n"
        "from esr_cli.models import loading\n"
        "from esr_cli.rollout.vllm import VllmEngine\n"
        "if __name__ == '__main__':\n"
        "    t.capped_gemma(sys.argv[1])\n"
        "    engine = VllmEngine(sys.argv[1], 'float32', 512, 8)\n"
        "    rollouts = engine.generate(t.PROMPTS, t.SAMPLING)\n"
        "    model = loading.load_model(sys.argv[1], 'float32', 'cpu')\n"
        "    print('gap', t.reference_gap(model, rollouts, 0.7))\n"
    )
    assert gap_of(code, tmp_path) < 1e-4


def gap_of(code: str, folder: Path) -> float:
    """Runs the code with a model folder as its argument, and returns the gap that it prints."""
    script = folder / "gap.py"
    script.write_text(code)
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{here.parent}:{here}"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "model")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout.rpartition("gap ")[2])


def adapted_qwen(folder):
    """A tiny Qwen2 with biases and a head of its own, adapters on some layers that vLLM fuses."""
    torch.manual_seed(0)
    shape = AutoConfig.for_model(
        "qwen2", hidden_size=128, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=120, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    made = LoraTuning(model, 4, 8, ["q_proj", "up_proj"])
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.normal_(std=0.3)
    made.publish()
    return model, made


def test_both_engines_load_a_head_of_its_own_and_adapters_on_a_part_of_a_fused_layer(tmp_path):
    """In a separate process. vLLM leaves missing parts of a fused layer uninitialized.

    The head comes from the file. With `tie_word_embeddings` the same files would be two models.
    """
    pytest.importorskip("vllm")
    code = (
        "import sys, test_rollout as t\n"
        "from pathlib import Path\n"
        "from esr_cli.models import heads\n"
        "from esr_cli.rollout.vllm import VllmEngine\n"
        "if __name__ == '__main__':\n"
        "    model, made = t.adapted_qwen(sys.argv[1])\n"
        "    t.loading.load_tokenizer('esr:student').save_pretrained(sys.argv[1])\n"
        "    shape = t.loading.load_shape(sys.argv[1])\n"
        "    assert not heads.problem(Path(sys.argv[1]), shape)\n"
        "    shape.tie_word_embeddings = True\n"
        "    assert 'differs from the embedding' in heads.problem(Path(sys.argv[1]), shape)\n"
        "    engine = VllmEngine(sys.argv[1], 'float32', 512, 8)\n"
        "    eager = t.EagerEngine(sys.argv[1], 'float32', 8)\n"
        "    gaps = []\n"
        "    for engine in (engine, engine, engine, eager):\n"
        "        engine.load_weights(made.merged())\n"
        "        rollouts = engine.generate(t.PROMPTS, t.SAMPLING)\n"
        "        gaps.append(t.reference_gap(model, rollouts, 0.7))\n"
        "    print('gap', max(gaps))\n"
    )
    # Uninitialized weights are off by whole nats; vLLM on a CPU by up to 0.03 in some processes.
    assert gap_of(code, tmp_path) < 0.1
