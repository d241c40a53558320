"""Tokenizers to test with: small ones made here, and real ones where their files are at hand."""

from __future__ import annotations

import base64
import copy
import importlib.util
import json
import os
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SentencePieceExtractor

from esr_cli.models.lab import lab_tokenizer
from esr_cli.models.token_bytes import BYTE_OF

STAND_IN = {byte: character for character, byte in BYTE_OF.items()}
QWEN_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
QWEN_ADDED = [
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
]
QWEN3_ADDED = ["<tool_response>", "</tool_response>", "<think>", "</think>"]
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "The answer is \\boxed{42}, so we are done. The answer is plain.",
    "Natalia sold 48/2 = 24 clips in May, and 48+24 = 72 clips altogether.",
    "Größe, naïve café, 中文字符, 😀😃, x² + y² = z²\n\n",
] * 20


def written(token: bytes) -> str:
    return "".join(STAND_IN[byte] for byte in token)


def byte_level(ranks: dict[bytes, int], pattern: str, special: list[str], added=(), **options):
    """A byte-level BPE in which every way to build a token from two others is a merge."""
    merges = []
    for token, rank in ranks.items():
        halves = [(token[:i], token[i:]) for i in range(1, len(token))]
        both = [(a, b) for a, b in halves if a in ranks and b in ranks]
        both.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(rank, *pair) for pair in both]
    merges.sort(key=lambda merge: merge[0])
    vocabulary = {written(token): rank for token, rank in ranks.items()}
    pairs = [(written(a), written(b)) for _, a, b in merges]
    core = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([split, spell])
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    if options.pop("nfc", False):
        core.normalizer = normalizers.NFC()
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


@cache
def qwen3():
    """Four more tokens, and the end of a chat turn as the end of text."""
    made = copy.deepcopy(qwen())
    made.add_tokens([AddedToken(token, normalized=False) for token in QWEN3_ADDED])
    made.eos_token = "<|im_end|>"
    return made


@cache
def qwen():
    path = Path(os.environ.get("ESR_DATA", "data")) / "qwen.tiktoken"
    if not path.exists():
        pytest.skip("no qwen.tiktoken in ESR_DATA")
    lines = [line.split() for line in path.read_text().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    end = "<|endoftext|>"
    return byte_level(ranks, QWEN_PATTERN, QWEN_SPECIAL, QWEN_ADDED, nfc=True, eos_token=end)


def mistral_file(name: str) -> Path:
    found = importlib.util.find_spec("mistral_common")
    path = Path(found.origin).parent / "data" / name if found and found.origin else Path(name)
    if not path.exists():
        pytest.skip("no mistral-common here")
    return path


@cache
def tekken():
    told = json.loads(mistral_file("tekken_240911.json").read_text())
    count = told["config"]["default_vocab_size"] - told["config"]["default_num_special_tokens"]
    tokens = [base64.b64decode(row["token_bytes"]) for row in told["vocab"][:count]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return byte_level(ranks, told["config"]["pattern"], ["<s>", "</s>", "<unk>"], eos_token="</s>")


@cache
def pieces(blank: str = "first"):
    """Mistral's 32k SentencePiece model, with a blank of its own before a text (`first`), without
    (`none`), or in the old form, with one even before a text that begins with a blank (`twice`).
    """
    pytest.importorskip("sentencepiece")
    told = SentencePieceExtractor(str(mistral_file("tokenizer.model.v1"))).extract(models.BPE)
    made = LlamaTokenizer(told["vocab"], told["merges"], add_prefix_space=blank == "first")
    if blank == "twice":
        made.backend_tokenizer.pre_tokenizer = None
        marks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.backend_tokenizer.normalizer = normalizers.Sequence(marks)
    return made


@cache
def words():
    return lab_tokenizer()


@cache
def small(size: int = 400, nfc: bool = False):
    """A byte-level BPE trained on three lines."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if nfc:
        core.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=size, special_tokens=["<end>", "<tool>"], initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
