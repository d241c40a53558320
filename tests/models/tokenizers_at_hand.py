"""Tokenizers for tests: small ones built here, and real ones if their files are available."""

from __future__ import annotations

import base64
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

from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.qwen import RANKS, qwen_tokenizer
from esr_cli.models.token_bytes import BYTE_OF

STAND_IN = {byte: character for character, byte in BYTE_OF.items()}
CORPUS = [
    "The answer is \\boxed{42}, so we are done. The answer is plain.",
    "Natalia sold 48/2 = 24 clips in May, and 48+24 = 72 clips altogether.",
    "Größe, naïve café, 中文字符, 😀😃, x² + y² = z²\n\n",
] * 20


def written(token: bytes) -> str:
    return "".join(STAND_IN[byte] for byte in token)


def byte_level(ranks: dict[bytes, int], pattern: str, special: list[str], **options):
    """A byte-level BPE with a merge for every pair of tokens that forms a token."""
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
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


@cache
def qwen(family: str = "qwen2.5"):
    path = Path(os.environ.get("ESR_DATA", "data")) / RANKS
    if not path.exists():
        pytest.skip(f"no {RANKS} in ESR_DATA")
    return qwen_tokenizer(path, family)


def qwen3():
    """Has four more tokens, and the end of a chat turn as the end of text."""
    return qwen("qwen3")


def mistral_file(name: str) -> Path:
    found = importlib.util.find_spec("mistral_common")
    path = Path(found.origin).parent / "data" / name if found and found.origin else Path(name)
    if not path.exists():
        pytest.skip("no mistral-common here")
    return path


@cache
def tekken():
    data = json.loads(mistral_file("tekken_240911.json").read_text())
    count = data["config"]["default_vocab_size"] - data["config"]["default_num_special_tokens"]
    tokens = [base64.b64decode(row["token_bytes"]) for row in data["vocab"][:count]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return byte_level(ranks, data["config"]["pattern"], ["<s>", "</s>", "<unk>"], eos_token="</s>")


@cache
def pieces(blank: str = "first"):
    """Mistral's 32k SentencePiece model; `blank` tells whether a blank is prepended to a text.

    `first`: unless it begins with one; `none`: never; `twice`: always, as in the old form.
    """
    pytest.importorskip("sentencepiece")
    extracted = SentencePieceExtractor(str(mistral_file("tokenizer.model.v1"))).extract(models.BPE)
    tokenizer = LlamaTokenizer(
        extracted["vocab"], extracted["merges"], add_prefix_space=blank == "first"
    )
    if blank == "twice":
        tokenizer.backend_tokenizer.pre_tokenizer = None
        marks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(marks)
    return tokenizer


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
