"""The lab's word-level tokenizer and networks: real transformers classes, in miniature."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from esr_cli.config import LabConfig
from esr_cli.lab.tokenizers import SPECIAL, bytes_tokenizer

# A bar for one shard says nothing that the lab's own lines do not.
disable_progress_bar()

WORDS = [
    *"Q : start ; find ? + - * =".split(),
    "\n",
    *"plan careful quick , . one by three at once so the answer is \\boxed{ }".split(),
]
# One user turn is all the lab has: <bos> question <sep>, then the response.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<bos> {{ message['content'] }}{% if add_generation_prompt %} <sep>{% endif %}"
    "{% else %} {{ message['content'] }} <eos>{% endif %}{% endfor %}"
)


def lab_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer: special tokens, words, the 26 letters, the numbers 0 to 49."""
    letters = [chr(ord("a") + i) for i in range(26)]
    tokens = [*SPECIAL, *WORDS, *letters, *map(str, range(50)), "<unk>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    # Never <pad>: an unknown word must not pass for padding.
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    # Split on blanks only: the line break is a word of its own.
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


# By the name that `student_tokenizer` and `teacher_tokenizer` give.
TOKENIZERS = {"words": lab_tokenizer, "bytes": bytes_tokenizer}


def lab_model(config: LabConfig, vocabulary: int, seed: int) -> Qwen3ForCausalLM:
    """A small Qwen3 with tied embeddings, freshly initialised from `seed`."""
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
        eos_token_id=2,
    )
    return Qwen3ForCausalLM(shape)
