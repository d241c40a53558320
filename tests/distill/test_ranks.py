"""Compares the teacher's rank of the student's top token with a dense computation."""

from __future__ import annotations

import torch

from esr_cli.distill.divergence import Options
from esr_cli.distill.head import Head
from esr_cli.distill.ranks import ranks
from esr_cli.distill.shared import Grouped, Shared

R, V, D = 13, 29, 6


def sides():
    torch.manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    return (draw(R, D), Head(draw(V, D), draw(V))), draw(R, V)


def dense(q_RW, p_RW):
    """Sorts the whole distribution instead of counting."""
    order = p_RW.argsort(-1, descending=True).tolist()
    first = q_RW.argmax(-1).tolist()
    return q_RW.max(-1).values, [row.index(top) + 1 for row, top in zip(order, first, strict=True)]


def same(found, expected):
    assert (found.top1_prob_R - expected[0]).abs().max() < 1e-12
    assert found.teacher_rank_R.tolist() == expected[1]


def test_tiled_ranks_equal_sorting_the_whole_distribution():
    student, teacher = sides()
    found = ranks(student, teacher, Options(temperature=0.7, tile_tokens=4))
    q = (student[1].logits(student[0]) / 0.7).softmax(-1)
    same(found, dense(q, (teacher / 0.7).softmax(-1)))
    assert max(found.teacher_rank_R) > 5, "the example covers every bin of the probe"


def test_unshared_tokens_are_neither_chosen_nor_ranked():
    student, teacher = sides()
    unknown = torch.zeros(V - 4, dtype=torch.bool)
    unknown[[2, 5, 11]] = True
    found = ranks(student, teacher, Options(shared=Shared(V - 4, unknown)))
    known = [i for i in range(V - 4) if not unknown[i]]
    q = student[1].logits(student[0])[:, known].softmax(-1)
    same(found, dense(q, teacher[:, known].softmax(-1)))


def test_classes_are_ranked_by_the_sum_over_their_tokens():
    student, teacher = sides()
    classes = torch.arange(V) % 7
    found = ranks(student, teacher, Options(shared=Grouped(7, classes, classes.flip(0))))
    sums = torch.zeros(V, 7, dtype=torch.float64)
    sums[torch.arange(V), classes] = 1
    q = student[1].logits(student[0]).softmax(-1) @ sums
    p = teacher.softmax(-1) @ sums.flip(0)
    same(found, dense(q, p))


def test_equals_share_the_better_rank():
    student = torch.tensor([[0.0, 1.0, 0.0]])
    teacher = torch.tensor([[2.0, 1.0, 1.0]])
    assert ranks(student, teacher, Options()).teacher_rank_R.tolist() == [2]
    assert ranks(student, torch.zeros(1, 3), Options()).teacher_rank_R.tolist() == [1]
