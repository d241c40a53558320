"""Classes of tokens that two different tokenizers share."""

from __future__ import annotations

import pytest
import torch

from esr_cli.distill.shared import Grouped, Shared
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models import classes as classes_module
from esr_cli.models.token_bytes import token_bytes
from esr_cli.models.vocabulary import align


@pytest.fixture(scope="module")
def lab_classes():
    words, pieces = lab_tokenizer(), bytes_tokenizer()
    alignment = align(words, pieces, "text")
    ends = [words.eos_token_id], [pieces.eos_token_id]
    return words, pieces, classes_module.classes(alignment, words, pieces, *ends)


def class_of(lab_classes, word, piece):
    words, pieces, found = lab_classes
    student_id = {text: i for i, text in enumerate(token_bytes(words))}
    teacher_id = {text: i for i, text in enumerate(token_bytes(pieces))}
    return found.student[student_id[word]], found.teacher[teacher_id[piece]]


@pytest.mark.parametrize(
    ("word", "piece"),
    [
        (b" careful", b" careful"),
        # The teacher has a prefix of the word that is no token of the student ...
        (b" answer", b" ans"),
        (b" plan", b" pl"),
        # ... or a token that extends beyond it.
        (b" +", b" + 5"),
        (b" by", b" by one"),
    ],
)
def test_tokens_with_a_shared_prefix_are_one_class(lab_classes, word, piece):
    ours, theirs = class_of(lab_classes, word, piece)
    assert ours == theirs >= 0


def test_decisive_tokens_stay_separate_and_no_class_is_one_sided(lab_classes):
    words, pieces, found = lab_classes
    ours, theirs = class_of(lab_classes, b" careful", b" quick")
    assert ours != theirs
    digits = {class_of(lab_classes, f" {d}".encode(), f" {d}".encode()) for d in range(7)}
    assert len(digits) == 7 and all(a == b for a, b in digits)
    assert set(found.student) - {-1} == set(found.teacher) - {-1} == set(range(found.count))
    # The end-of-text tokens share a class, although both are special tokens.
    assert found.student[words.eos_token_id] == found.teacher[pieces.eos_token_id] >= 0


def test_classes_of_one_tokenizer_with_itself_are_its_tokens():
    words = lab_tokenizer()
    found = classes_module.classes(align(words, words, "text"), words, words, (), ())
    assert found.student == found.teacher and found.count == len(words)


def test_grouped_equals_shared_for_equal_tokenizers():
    torch.manual_seed(0)
    words = lab_tokenizer()
    found = classes_module.classes(align(words, words, "text"), words, words, (), ())
    grouped = Grouped(found.count, torch.tensor(found.student), torch.tensor(found.teacher))
    scaled = torch.randn(5, len(words), dtype=torch.float64)
    a, b = grouped.student(scaled), Shared(len(words)).student(scaled)
    assert (a[0] - b[0]).abs().max() < 1e-12 and a[1].abs().max() < 1e-12
