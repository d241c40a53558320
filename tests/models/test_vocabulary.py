"""Alignment of two vocabularies: by ids, by token strings, by bytes."""

from __future__ import annotations

import time
from functools import cache

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers_at_hand import pieces, qwen, qwen3, small, tekken, words
from transformers import BertTokenizer, PreTrainedTokenizerFast

from esr_cli.config import ConfigError
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.token_bytes import kind_of, token_bytes, token_strings
from esr_cli.models.vocabulary import align

MAKERS = {"words": words, "small": small, "qwen": qwen, "tekken": tekken, "pieces": pieces}
EVERY = pytest.mark.parametrize("name", MAKERS)
SMALL = ("words", "small", "pieces")
PAIRS = [
    *((a, b) for a in SMALL for b in SMALL),
    *[("qwen", "tekken"), ("tekken", "pieces"), ("pieces", "qwen")],
]


def word_level(tokens: list[str], end: str = "<eos>"):
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, unk_token="<unk>")


@cache
def gemma_like(*tokens: str):
    """SentencePiece-like: byte fallback, an added token of two blanks, no prepended blank."""
    vocabulary = ["<eos>", "<unk>", *tokens, "▁", "▁▁", "A", "é", "<0x41>", "<0xC3>", "<0xA9>"]
    numbers = {token: i for i, token in enumerate(vocabulary)}
    core = Tokenizer(models.BPE(numbers, [("▁", "▁")], byte_fallback=True, unk_token="<unk>"))
    core.normalizer = normalizers.Replace(" ", "▁")
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence(parts)
    core.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("<html>", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@EVERY
def test_the_kind_is_detected_from_the_components(name):
    kinds = {"words": "words", "small": "bytes", "qwen": "bytes", "tekken": "bytes"}
    assert kind_of(MAKERS[name]()) == kinds.get(name, "pieces")


@EVERY
@pytest.mark.parametrize(
    "text", ["Größe 中文 😀 x² \\frac{1}{2}\n\n  done", " plan careful a = 12"]
)
def test_the_bytes_of_encoded_tokens_join_to_the_text(name, text):
    tokenizer = MAKERS[name]()
    meant = token_bytes(tokenizer)
    assert len(meant) == len(tokenizer)
    if name == "words":
        text = " plan careful a = 12"
    joined = b"".join(meant[i] for i in tokenizer(text, add_special_tokens=False).input_ids)
    assert joined.decode().lstrip() == text.lstrip()


def test_control_tokens_have_no_bytes_and_added_ones_their_content():
    tokenizer = gemma_like()
    found = dict(zip(token_strings(tokenizer), token_bytes(tokenizer), strict=True))
    assert found["<eos>"] is None and found["<unk>"] is None
    assert found["<html>"] == b"<html>" and found["▁▁"] == b"  "
    assert found["<0xC3>"] == b"\xc3" and found["é"] == "é".encode()


def test_an_added_token_of_a_byte_level_vocabulary_is_spelled_as_itself():
    tokenizer = small(nfc=True)
    tokenizer.add_tokens(["é b"])  # é alone would be a stand-in of the byte 0xE9
    assert token_bytes(tokenizer)[-1] == "é b".encode()


def test_an_id_without_a_token_has_no_bytes():
    core = Tokenizer(models.WordLevel({"a": 0, "b": 3, "<unk>": 4}, "<unk>"))
    assert token_bytes(PreTrainedTokenizerFast(tokenizer_object=core))[:4] == [
        b" a", None, None, b" b",
    ]  # fmt: skip


def test_an_unsupported_tokenizer_is_an_error_of_one_line():
    strange = BertTokenizer(vocab={"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4})
    with pytest.raises(ConfigError, match=r"^pair.alignment=text: no bytes are known .*$"):
        align(strange, words(), "text")
    assert align(strange, strange, "auto").kind == "ids"


@pytest.mark.parametrize("name", [*SMALL, "qwen"])
@pytest.mark.parametrize("how", ["auto", "ids", "tokens", "text"])
def test_a_tokenizer_aligns_fully_with_itself(name, how):
    tokenizer = MAKERS[name]()
    found = align(tokenizer, tokenizer, how)
    assert found.kind == (how if how != "auto" else "ids")
    assert found.teacher_of == tuple(range(len(tokenizer)))
    assert found.teacher_only == () and found.share == 1


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_text_alignment_matches_equal_bytes_at_most_once(pair):
    student, teacher = (MAKERS[name]() for name in pair)
    found = align(student, teacher, "text")
    used = [other for other in found.teacher_of if other >= 0]
    assert len(used) == len(set(used)) and len(found.teacher_of) == len(student)
    assert sorted([*used, *found.teacher_only]) == list(range(len(teacher)))
    assert found.share == len(used) / len(student)
    assert found.teacher_of[student.eos_token_id] == teacher.eos_token_id
    ours, theirs = token_bytes(student), token_bytes(teacher)
    for number, other in enumerate(found.teacher_of):
        assert other < 0 or ours[number] == theirs[other], number


def test_qwen_and_its_successor_share_ids():
    found = align(qwen(), qwen3(), "auto")
    assert found.kind == "ids" and found.share == 1
    assert found.teacher_only == (151665, 151666, 151667, 151668)
    back = align(qwen3(), qwen(), "auto")
    assert back.kind == "ids" and back.teacher_of[151664:] == (151664, -1, -1, -1, -1)


def test_text_alignment_matches_different_end_of_text_tokens():
    found = align(qwen(), qwen3(), "text")
    names = qwen().get_vocab()
    assert found.teacher_of[names["<|endoftext|>"]] == names["<|im_end|>"]
    assert (
        found.teacher_of[names["<|im_end|>"]] == -1
    )  # the token of the same name is already matched
    assert found.teacher_of[names["<|im_start|>"]] == names["<|im_start|>"]


def test_renumbered_ids_are_matched_by_token_strings():
    student = word_level(["<eos>", "<unk>", *"abcdefghijklmnopqrst"])
    teacher = word_level(["<unk>", *"tsrqponmlkjihgfedcb", "z", "<eos>"])
    found = align(student, teacher, "auto")
    assert found.kind == "tokens" and found.share == 21 / 22
    assert found.teacher_of[:4] == (21, 0, -1, 19) and found.teacher_only == (20,)
    assert found == align(student, teacher, "tokens")
    with pytest.raises(ConfigError, match=r"'<eos>' is token 0 .* and token 21 of the teacher"):
        align(student, teacher, "ids")


def test_unrelated_tokenizers_are_an_error_of_one_line():
    with pytest.raises(ConfigError) as caught:
        align(lab_tokenizer(), small(), "auto")
    line = str(caught.value)
    assert line.startswith("pair.alignment=auto: the tokenizers differ (") and "\n" not in line
    known = "% of the student's tokens are known to the teacher, first without a match: '<pad>')"
    assert known in line
    with pytest.raises(ConfigError, match=r"pair.alignment=tokens: .* choose pair.alignment=text"):
        align(lab_tokenizer(), small(), "tokens")
    with pytest.raises(ConfigError, match=r"pair.alignment=words: choose one of auto, ids"):
        align(small(), small(), "words")


def test_equal_strings_of_different_kinds_do_not_match():
    byte_level = small()
    core = Tokenizer(models.WordLevel(byte_level.get_vocab(), "<end>"))
    same_strings = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    assert align(byte_level, same_strings, "auto").kind == "ids"
    moved = {token: i + 1 for token, i in byte_level.get_vocab().items()} | {"first": 0}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(moved, "<end>")))
    with pytest.raises(ConfigError, match="100% of the student's tokens are known"):
        align(byte_level, other, "auto")


def test_an_ordinary_token_is_matched_before_its_byte_fallback():
    student, teacher = small(), gemma_like()
    names = teacher.get_vocab()
    assert align(student, teacher, "text").teacher_of[student.get_vocab()["A"]] == names["A"]
    back = align(teacher, student, "text").teacher_of
    assert back[names["A"]] == student.get_vocab()["A"] and back[names["<0x41>"]] == -1
    twin = gemma_like("more")
    both = align(teacher, twin, "text").teacher_of
    assert both[names["<0x41>"]] == twin.get_vocab()["<0x41>"]


def test_large_vocabularies_are_aligned_quickly():
    student, teacher = qwen(), tekken()
    began = time.perf_counter()
    align(student, teacher, "text")
    assert time.perf_counter() - began < 10  # about one second on an idle core
