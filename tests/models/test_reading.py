"""Rows of a reading: where teacher tokens and student tokens end at the same place."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_vocabulary import gemma_like, word_level
from tokenizers_at_hand import pieces, qwen, small, tekken, words

from esr_cli.models.byte_writer import BROKEN
from esr_cli.models.reading import Reading, SameText, SameTokens, reader
from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import Alignment, align

MAKERS = {
    "words": words,
    "small": small,
    "composing": lambda: small(330, nfc=True),
    "qwen": qwen,
    "tekken": tekken,
    "pieces": pieces,
    "pieces without a blank": lambda: pieces("none"),
    "pieces with two blanks": lambda: pieces("twice"),
}
HAND_MADE = ("words", "small", "composing")
BLANKS = ("pieces without a blank", "pieces with two blanks")
PAIRS = [
    *((a, b) for a in HAND_MADE for b in HAND_MADE),
    *(pair for name in BLANKS for pair in [("small", name), (name, "composing"), (name, "pieces")]),
    *[("qwen", "tekken"), ("tekken", "qwen"), ("qwen", "pieces"), ("pieces", "qwen")],
    *[("tekken", "pieces"), ("pieces", "tekken"), ("qwen", "qwen"), ("pieces", "words")],
]
ALONE = [*HAND_MADE, *BLANKS, "pieces", "qwen"]
HARD = (
    "😀", "👩‍👩‍👧", "中文", "é", "e\u0301", "\u1100\u1161", "ﬁ", " ", "  ", "\n\n", "\t", "</s>",
    "<|endoftext|>", "<unk>", "<tool_call>", "\\frac{1}{2}", "$x^2$", "care", "ful", "plan", "▁",
    "<0xC3>", "\u200d", "\x00", "1", "234", ".", "The answer is ",
)  # fmt: skip
TEXT = st.lists(st.sampled_from(HARD) | st.text(max_size=8), max_size=12).map("".join)
QUICK = settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
pairs = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


@cache
def meant(name: str) -> list[bytes | None]:
    return token_bytes(MAKERS[name]())


@cache
def reading_of(student: str, teacher: str) -> SameText:
    ours, theirs = MAKERS[student](), MAKERS[teacher]()
    return SameText(ours, theirs, align(ours, theirs, "text"))


def encode(name: str, text: str) -> tuple[int, ...]:
    return tuple(
        MAKERS[name]()(text, add_special_tokens=False, split_special_tokens=True).input_ids
    )


def plain(text: bytes, teacher: str) -> str:
    """The text, normalized for comparison with a teacher's bytes.

    This removes differences by prepended blanks, NFC, SentencePiece's sign for a blank, and bytes
    that words cannot spell.
    """
    result = text.decode(errors="surrogateescape")
    if teacher in {"qwen", "composing"}:
        result = unicodedata.normalize("NFC", result)
    if teacher.startswith("pieces"):
        result = result.replace("▁", " ")
    if teacher in {"words", "pieces", "pieces with two blanks"}:
        result = result.replace(" ", "")
    if teacher == "words":
        result = BROKEN.sub("", result)
    return result


def check(student: str, teacher: str, ids: tuple[int, ...]) -> Reading:
    found = reading_of(student, teacher).read(ids)
    ours, theirs = meant(student), meant(teacher)
    certain = [row for row in found.rows if row >= 0]
    assert len(found.rows) == len(ids) and certain == sorted(certain)
    assert len(found.ids) == max(certain, default=0)
    unknown = MAKERS[teacher]().unk_token_id
    # Bytes on both sides of a token without text form no character. Words cannot spell them;
    # `plain` removes them if a byte that no character contains stands between.
    gap = b"\xff" if teacher == "words" else b""
    for t, row in enumerate(found.rows):
        read = found.ids[: max(row, 0)]
        if row >= 0 and unknown not in read:
            left = b"".join((ours[i] if i < len(ours) else b"") or gap for i in ids[:t])
            right = b"".join(theirs[i] or b"" for i in read)
            assert plain(left, teacher) == plain(right, teacher), (t, row)
    return found


@pairs
@QUICK
@given(text=TEXT, cut=st.integers(0, 40))
def test_boundaries_agree_on_any_text(pair, text, cut):
    check(*pair, encode(pair[0], text)[:cut])


@pairs
@QUICK
@given(data=st.data())
def test_boundaries_agree_on_any_ids(pair, data):
    above = len(MAKERS[pair[0]]()) + 2  # a head may have more rows than the tokenizer has tokens
    ids = data.draw(st.lists(st.integers(0, above), max_size=30))
    check(*pair, tuple(ids))


@pytest.mark.parametrize("name", ALONE)
@QUICK
@given(text=TEXT)
def test_a_tokenizer_reads_its_own_text_token_by_token(name, text):
    if name == "words":
        text = " plan careful a = 12" * (len(text) % 4)
    ids = (*encode(name, text), MAKERS[name]().eos_token_id)
    if None in [meant(name)[i] for i in ids[:-1]]:
        return  # an unknown word
    found = check(name, name, ids)
    assert found.rows == tuple(range(len(ids))) and found.ids == ids[:-1]


@pairs
def test_an_empty_response_and_a_single_end_token(pair):
    assert reading_of(*pair).read(()) == Reading((), ())
    assert reading_of(*pair).read((MAKERS[pair[0]]().eos_token_id,)) == Reading((), (0,))


def test_the_end_of_text_is_predicted_after_the_text_and_never_read():
    ids = (*encode("qwen", "So it is."), MAKERS["qwen"]().eos_token_id)
    found = reading_of("qwen", "tekken").read(ids)
    assert token_text("tekken", found.ids) == b"So it is." and found.rows[-1] == len(found.ids)


def token_text(name: str, ids: tuple[int, ...]) -> bytes:
    return b"".join(meant(name)[i] or b"" for i in ids)


def by_letters(*words: str):
    """The ids of the given tokens in the byte-level vocabulary, without encoding."""
    names = small().get_vocab()
    return tuple(names[word.replace(" ", "Ġ")] for word in words)


def test_a_place_inside_a_teachers_token_has_no_row():
    ours, theirs = small(), word_level(["<eos>", "<unk>", "plan", "careful"])
    letters = by_letters(*"plan careful plan")
    found = SameText(ours, theirs, align(ours, theirs, "text")).read(letters)
    inside = [-1] * 7
    assert found.rows == (0, -1, -1, -1, 1, *inside, 2, -1, -1, -1, -1)
    assert found.ids == (2, 3)  # what follows the last boundary is not read


def test_rows_continue_after_an_unknown_word():
    ours, theirs = small(), word_level(["<eos>", "<unk>", "plan", "a"])
    letters = by_letters(*"plan xyz a a ")
    found = SameText(ours, theirs, align(ours, theirs, "text")).read(letters)
    assert found.rows == (0, -1, -1, -1, 1, -1, -1, -1, 2, -1, 3, -1, 4)
    assert found.ids == (2, 1, 3, 3)


def test_a_composed_letter_keeps_the_boundaries_around_it():
    raw = "1e\u0301\u1100\u1161 b".encode()
    letters = tuple(meant("small").index(bytes([byte])) for byte in raw)
    rows = check("small", "composing", (*letters, letters[0])).rows
    inside = [t for t, row in enumerate(rows) if row < 0]
    assert inside == [2, 3, 5, 6, 7, 8, 9] and rows[:2] == (0, 1)


def test_an_incomplete_character_at_the_end_is_read_as_single_bytes():
    smile = tuple(meant("small").index(bytes([byte])) for byte in "a😀".encode()[:-1])
    for teacher in ("small", "pieces without a blank", "tekken"):
        assert check("small", teacher, smile).rows == (0, 1, 2, 3), teacher


def test_bytes_that_the_teacher_cannot_spell_are_not_read():
    ours, theirs = small(), gemma_like("a", "b")
    spoiled = [meant("small").index(bytes([byte])) for byte in b"a\xf0\x9fb"]
    found = SameText(ours, theirs, align(ours, theirs, "text")).read((*spoiled, spoiled[0]))
    names = theirs.get_vocab()
    assert found == Reading((names["a"], names["b"]), (0, 1, -1, 1, 2))


def test_a_special_token_inside_splits_the_text():
    names = small().get_vocab()
    text = by_letters("a", "b")
    both = (*text, names["<end>"], *text)
    found = reading_of("small", "tekken").read(both)
    assert found.rows == (0, -1, 1, 2, -1) or found.rows == (0, 1, 2, 3, 4)
    assert MAKERS["tekken"]().eos_token_id in found.ids
    tool = (*text, names["<tool>"], *text[:1], names["<tool>"])
    found = reading_of("small", "tekken").read(tool)  # which has no such token
    assert found.rows[2] == found.rows[3] and token_text("tekken", found.ids) == b"aba"


def test_a_special_token_spelled_out_is_read_as_text():
    found = check("qwen", "tekken", encode("qwen", "say </s> and go on"))
    assert MAKERS["tekken"]().eos_token_id not in found.ids


def test_truncation_settings_of_an_earlier_call_have_no_effect():
    ours, theirs = small(), word_level(["<eos>", "<unk>", "plan", "a"])
    made = SameText(ours, theirs, align(ours, theirs, "text"))
    theirs.pad_token = "<eos>"
    theirs("a a a", padding="max_length", truncation=True, max_length=2)
    assert made.read(by_letters(*"a a a a a ")).ids == (3,) * 5


@pytest.mark.skipif("ESR_DATA" not in os.environ, reason="needs the folder of data in ESR_DATA")
@pytest.mark.parametrize(
    ("student", "teacher"), [("qwen", "tekken"), ("qwen", "pieces"), ("pieces", "qwen")]
)
def test_most_tokens_of_real_answers_have_rows(student, teacher):
    lines = (Path(os.environ["ESR_DATA"]) / "gsm8k_test.jsonl").read_text().splitlines()[:40]
    responses = [encode(student, json.loads(line)["answer"]) for line in lines]
    rows = [row for ids in responses for row in check(student, teacher, ids).rows]
    assert sum(row >= 0 for row in rows) / len(rows) > 0.9


def test_one_tokenizer_renumbered_is_read_token_by_token():
    alignment = Alignment("tokens", (5, 4, -1, 3), (0, 1, 2), 0.75)
    made = reader(alignment, None, None)
    assert isinstance(made, SameTokens)
    assert made.read((0, 3, 1)) == Reading((5, 3), (0, 1, 2))
    assert made.read((0, 2, 9, 1)) == Reading((5,), (0, 1, 1, 1))  # two that it does not know
    assert made.read(()) == Reading((), ())


def test_a_response_is_read_in_milliseconds():
    made = reading_of("qwen", "pieces")
    ids = encode("qwen", "So $x^2 + 1 = 24$ and the answer is plain. " * 8)[:100]
    began = time.perf_counter()
    for _ in range(16):
        made.read(ids)
    assert (time.perf_counter() - began) / 16 < 0.05  # below one millisecond on an idle core
