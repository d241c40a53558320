"""`Decoder` against transformers' forward: architectures, padding, and rows that end early."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from esr_cli.rollout import graphs
from esr_cli.rollout.decoder import Decoder
from esr_cli.rollout.eager import EagerEngine
from esr_cli.types import Prompt, Sampling

SIZES = {
    "vocab_size": 120, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 256,
}  # fmt: skip
KINDS = {
    "llama": {"num_key_value_heads": 2, "attention_bias": True},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 4, "head_dim": 16, "tie_word_embeddings": True},
    # Five of its six layers see 8 tokens. Sizes and scales that other architectures derive differ.
    "gemma3_text": {
        "num_hidden_layers": 6, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8,
        "query_pre_attn_scalar": 24,
    },
}  # fmt: skip
# Unsupported: other architectures, dynamic RoPE.
UNSUPPORTED = {
    "gemma2": {"num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 8},
    "llama": {
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    },
}  # fmt: skip
# Layers with a window besides Gemma's, and a head with soft-capping.
VARIANTS = {
    "qwen2": {
        "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 8,
        "max_window_layers": 1,
    },
    "gemma3_text": {
        **KINDS["gemma3_text"], "attention_bias": True, "final_logit_softcapping": 3.0,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}  # fmt: skip
PROMPTS = [Prompt(f"p{n}", "", tuple(range(3 + n, 7 + 5 * n)), ()) for n in (0, 1, 4)]


def engine(folder, kind, options, dtype="float32", device="cpu", max_sequences=16):
    torch.manual_seed(0)
    shape = AutoConfig.for_model(kind, **{**SIZES, **options})
    model = AutoModelForCausalLM.from_config(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return EagerEngine(str(folder), dtype, max_sequences, device)


def assert_same(ours, expected):
    assert [each.response_ids for each in ours] == [each.response_ids for each in expected]
    for one, other in zip(ours, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def assert_near(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        # Near ties may differ. Until then, both sampled from the same distribution.
        pairs = zip(one.response_ids, other.response_ids, one.logprobs, other.logprobs, strict=True)
        for token, same_token, weight, same_weight in pairs:
            if token != same_token:
                break
            assert weight == pytest.approx(same_weight, abs=0.1)


@pytest.mark.parametrize("temperature", [0.7, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_it_samples_the_same_tokens_as_transformers(kind, temperature, tmp_path):
    made = engine(tmp_path, kind, KINDS[kind])
    # Different lengths, so that rows end during decoding.
    limits = (40, 3, 5, 4, 6, 2)
    sampling = Sampling(40, temperature, stop_ids=(2,), samples=2, seed=1, lengths=limits)
    assert made.decoder is not None
    moved = {n: p.detach() + 0.05 * torch.randn_like(p) for n, p in made.model.named_parameters()}
    for _ in range(2):
        ours = made.generate(PROMPTS, sampling)
        decoder, made.decoder = made.decoder, None
        expected = made.generate(PROMPTS, sampling)
        made.decoder = decoder
        assert_same(ours, expected)
        made.load_weights(moved)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_it_synchronizes_once_per_token(kind, tmp_path):
    made = engine(tmp_path, kind, KINDS[kind], "bfloat16")
    assert made.decoder is not None
    sampling = Sampling(20, temperature=0.7, seed=1)
    with torch.profiler.profile() as profiled:
        ours = made.generate(PROMPTS, sampling)
    syncs = [each.count for each in profiled.key_averages() if "local_scalar" in each.key]
    assert sum(syncs) <= 20, "an operation synchronizes the device"
    made.decoder = None
    assert_near(ours, made.generate(PROMPTS, sampling))


@pytest.mark.parametrize("kind", KINDS)
def test_the_captured_step_equals_the_eager_step(kind, tmp_path, capsys):
    """Its arithmetic over all slots. On a CPU no graph is captured."""
    made = engine(tmp_path, kind, KINDS[kind]).decoder
    ids_BL = torch.arange(3, 15).view(2, 6)
    mask_BL = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])
    with torch.inference_mode():
        caches = [made.read(ids_BL, mask_BL, 9)[1] for _ in range(2)]
        for cache in caches:
            made.next(torch.tensor([7, 8]), cache)
        captured = made.captured(caches[1])
        for token in range(9, 13):
            ids_B = torch.tensor([token, token + 1])
            assert torch.allclose(made.next(ids_B, caches[0]), captured(ids_B), atol=1e-5)
        assert not graphs.faults and "graph" not in capsys.readouterr().out
        # After a row is removed, decoding is as without a graph.
        for cache in caches:
            cache.keep(torch.tensor([1]))
        ids_B = torch.tensor([20])
        assert torch.allclose(made.next(ids_B, caches[0]), made.next(ids_B, caches[1]), atol=1e-5)


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_models_use_transformers_forward(kind, tmp_path):
    made = engine(tmp_path, kind, UNSUPPORTED[kind])
    assert made.decoder is None
    [rollout] = made.generate(PROMPTS[:1], Sampling(4, temperature=0.0))
    assert len(rollout.response_ids) == 4


@pytest.mark.parametrize("kind", VARIANTS)
def test_variants_of_an_architecture_decode_as_transformers_generates(kind, tmp_path):
    """Greedy, in one batch of unequal prompts, from which two rows leave: far past the window."""
    made = engine(tmp_path, kind, VARIANTS[kind])
    assert made.decoder is not None
    limits = (6, 40, 9)
    ours = made.generate(PROMPTS, Sampling(40, temperature=0.0, lengths=limits))
    for prompt, limit, found in zip(PROMPTS, limits, ours, strict=True):
        ids_BL = torch.tensor([prompt.student_ids])
        expected = made.model.generate(
            ids_BL, attention_mask=torch.ones_like(ids_BL), do_sample=False, max_new_tokens=limit,
            min_new_tokens=limit, eos_token_id=-1, pad_token_id=0,
        )  # fmt: skip
        assert found.response_ids == tuple(expected[0, ids_BL.shape[1] :].tolist())


def test_the_probe_at_load_is_longer_than_the_window(tmp_path):
    """With equal angles, a layer without its window differs in what it sees alone."""
    rope = {"rope_type": "default", "rope_theta": 1e4}
    ropes = {"full_attention": rope, "sliding_attention": rope}
    options = {**KINDS["gemma3_text"], "sliding_window": 512, "rope_parameters": ropes}
    made = engine(tmp_path, "gemma3_text", options).decoder
    assert made._agrees()
    made.layers[1].kind = "full_attention"
    assert not made._agrees()
    assert made.window == made.model.config.sliding_window == 512


def test_a_decoder_that_does_not_agree_is_not_used(tmp_path):
    made = engine(tmp_path, "qwen3", KINDS["qwen3"])
    made.model.model.layers[1].mlp.act_fn = torch.nn.ReLU()
    assert Decoder.of(made.model) is None
