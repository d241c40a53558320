"""The lab's networks: real transformers classes, in miniature."""

from __future__ import annotations

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from esr_cli.config import LabConfig

# A progress bar for a single shard adds nothing to the lab's own lines.
disable_progress_bar()


def lab_model(config: LabConfig, vocabulary: int, seed: int, eos: int = 2) -> Qwen3ForCausalLM:
    """A small Qwen3 with tied embeddings, initialised from `seed`; `eos` ends its responses."""
    torch.manual_seed(seed)
    shape = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=config.width,
        intermediate_size=config.mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        head_dim=config.width // config.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=eos,
    )
    return Qwen3ForCausalLM(shape)
