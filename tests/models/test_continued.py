"""States after prompts that are kept: those of one pass, for several architectures."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from esr_cli.models import batching
from esr_cli.models.continued import Continued, called, size_of

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "llama": {},
    "qwen3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    # A window shorter than the prompts, in two of three layers.
    "gemma3_text": {
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "gemma2": {"sliding_window": 4},
}
# One prompt is a single token, and two responses follow the same prompt.
PROMPTS = [tuple(range(3, 3 + n)) for n in (11, 2, 7, 1, 7)]
MORE = [(5, 9), (8, 8, 8, 8, 8), (), (4,), (40, 41, 42)]


def reads_of(kind: str, **settings) -> Continued:
    torch.manual_seed(0)
    own = {"vocab_size": 64} | settings if kind == "gpt2" else SIZES | settings
    attention = {"attn_implementation": "eager"} if kind == "gemma2" else {}
    config = AutoConfig.for_model(kind, **own)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64, **attention).eval()
    return Continued(model, lambda **inputs: called(model, True, **inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_states_after_kept_prompts_are_those_of_one_pass(kind):
    reads = reads_of(kind, **KINDS[kind])
    assert reads.agrees()
    # Eager attention computes its softmax in fp32.
    gap = 1e-5 if kind == "gemma2" else 1e-10
    kept = dict(zip(PROMPTS, reads.read(PROMPTS), strict=True))
    with torch.no_grad():
        found = reads.after(PROMPTS, kept, MORE)
        for prompt, rest, found_LX in zip(PROMPTS, MORE, found, strict=True):
            whole = called(reads.model, True, input_ids=batching.pad([prompt + rest], "cpu"))[0]
            expected = whole[len(prompt) - 1 :]
            assert torch.allclose(found_LX[: len(expected)], expected, atol=gap)


def test_a_kept_prompt_takes_the_memory_of_its_own_tokens():
    """Not that of the padding in the pass that read it."""
    reads = reads_of("llama")
    kept = dict(zip(PROMPTS, reads.read(PROMPTS), strict=True))
    for ids in PROMPTS:
        assert size_of(kept[ids]) == (len(ids) - 1) * 3 * 2 * 2 * 8 * 8
        assert all(
            each.untyped_storage().nbytes() == each.nbytes for pair in kept[ids] for each in pair
        )


def test_models_that_cannot_keep_prompts_are_known():
    """States of a recurrent model, and angles that follow from the length of the sequence."""
    assert not reads_of("mamba", **{"state_size": 4, "expand": 2}).agrees()
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert not reads_of("llama", rope_parameters=rope).agrees()
