"""Qwen's tokenizers, built from the file of published BPE ranks without a download."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

RANKS = "qwen.tiktoken"
# The split pattern of GPT-4, but every digit is its own token.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# In the order of their ids, from 151643 on.
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> "
    "<|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> "
    "<|image_pad|> <|video_pad|> <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> "
    "<|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
).split()
QWEN3_ONLY = ["<tool_response>", "</tool_response>", "<think>", "</think>"]
# From <tool_call> on, added tokens are ordinary text; those before it are control tokens.
TEXT = [*SPECIAL[SPECIAL.index("<tool_call>") :], *QWEN3_ONLY]
ENDS = {"qwen2.5": "<|endoftext|>", "qwen3": "<|im_end|>"}
# ChatML with the families' differences: qwen2.5's default system prompt, qwen3's empty thinking.
# Tools are not supported: a dry run has none.
CHAT = (
    "{{% if messages[0].role != 'system' %}}{default}{{% endif %}}"
    "{{% for message in messages %}}"
    "<|im_start|>{{{{ message.role }}}}\n{{{{ message.content }}}}<|im_end|>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{opening}{{% endif %}}"
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
NO_THOUGHT = "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"


def qwen_tokenizer(ranks: Path, family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of `family` (`qwen2.5` or `qwen3`) from the file of base ranks.

    The chat template is a plain ChatML for dry runs; real models have their own.
    """
    family_tokens = QWEN3_ONLY if family == "qwen3" else []
    core = TikTokenConverter(
        vocab_file=str(ranks), pattern=SPLIT, extra_special_tokens=[*SPECIAL, *family_tokens]
    ).converted()
    core.normalizer = normalizers.NFC()
    core.add_tokens([AddedToken(t, special=False) for t in [*SPECIAL, *family_tokens] if t in TEXT])
    default = SYSTEM if family == "qwen2.5" else ""
    opening = NO_THOUGHT if family == "qwen3" else ""
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=ENDS[family],
        pad_token="<|endoftext|>",
        chat_template=CHAT.format(default=default, opening=opening),
        clean_up_tokenization_spaces=False,
    )
