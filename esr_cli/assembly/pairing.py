"""How the vocabularies and stop tokens of a pair match: resolved before either model loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from esr_cli.assembly import model_folder, preflight
from esr_cli.config import ConfigError, PairConfig, teacher_key
from esr_cli.distill.shared import Grouped, Shared
from esr_cli.models import loading
from esr_cli.models.classes import Classes, classes
from esr_cli.models.reading import SameText, SameTokens, reader
from esr_cli.models.vocabulary import Alignment, align


@dataclass(frozen=True)
class Pairing:
    """What the loss compares, how the teacher reads a response, and where responses end.

    `columns` are the teacher's ids in the order in which they are compared: first the counterparts
    of the student's ids (any id if there is none), then the ids that only the teacher has.
    `student_ends` and `teacher_ends` are the ids that end a response by each model's own settings
    and the pair's. Rollouts stop at `stop_ids`: the student's ids for all of these tokens, or with
    `pair.stop=student` the student tokenizer's own end of text. `others` are those with the further
    teachers, which differ in `columns`, `reader` and `teacher_ends` only.
    """

    alignment: Alignment
    shared: Shared | Grouped
    columns: tuple[int, ...]
    reader: SameTokens | SameText
    student_ends: tuple[int, ...]
    teacher_ends: tuple[int, ...]
    stop_ids: tuple[int, ...]
    others: Mapping[str, Pairing] = field(default_factory=dict)


def resolve_pairing(pair: PairConfig, student_tokenizer: Any, teacher_tokenizer: Any) -> Pairing:
    """Aligns vocabularies and end-of-text tokens; raises `ConfigError` if they do not match.

    The softmaxes of all teachers must run over the same tokens.
    """
    first, others = _of_teacher(pair, student_tokenizer, teacher_tokenizer), {}
    for name, model in pair.teachers.items():
        key = f"{teacher_key(name)}.path"
        tokenizer = model_folder.tokenizer(key, model)
        found = _of_teacher(replace(pair, teacher=model, teachers={}), student_tokenizer, tokenizer)
        same = found.alignment.kind == first.alignment.kind and found.stop_ids == first.stop_ids
        if not same or not _equal(found.shared, first.shared):
            raise ConfigError(
                f"{key}={model.path}: shares other tokens with the student than pair.teacher.path="
                f"{pair.teacher.path}; several teachers need the same vocabulary"
            )
        others[name] = found
    return replace(first, others=others)


def _equal(a: Shared | Grouped, b: Shared | Grouped) -> bool:
    """Whether the compared tokens are the same; both may hold tensors."""

    def plain(shared: Shared | Grouped) -> dict[str, Any]:
        values = vars(shared).items()
        return {key: v.tolist() if isinstance(v, torch.Tensor) else v for key, v in values}

    return type(a) is type(b) and plain(a) == plain(b)


def _of_teacher(pair: PairConfig, student_tokenizer: Any, teacher_tokenizer: Any) -> Pairing:
    for name in pair.stop_tokens:
        if all(name not in each.get_vocab() for each in (student_tokenizer, teacher_tokenizer)):
            raise ConfigError(f"pair.stop_tokens: neither model has a token {name!r}; drop it")
    alignment = _all_rows(pair, align(student_tokenizer, teacher_tokenizer, pair.alignment))
    student_ends = preflight.stop_ids(pair.student, student_tokenizer, pair.stop_tokens)
    teacher_ends = preflight.stop_ids(pair.teacher, teacher_tokenizer, pair.stop_tokens)
    teacher_of = list(alignment.teacher_of)
    ends = {id for id, other in enumerate(teacher_of) if other in teacher_ends} | set(student_ends)
    teacher_only = set(alignment.teacher_only)
    if pair.merge_eos:
        # Merged into one token, it does not matter which end is mapped to which.
        unmatched = sorted(set(teacher_ends) & teacher_only)
        for id, other in zip(
            [id for id in sorted(ends) if teacher_of[id] < 0], unmatched, strict=False
        ):
            teacher_of[id] = other
            teacher_only.remove(other)
    if all(teacher_of[id] < 0 for id in ends):
        named = student_tokenizer.convert_ids_to_tokens(sorted(ends))
        raise ConfigError(
            f"pair.merge_eos=false: the teacher knows none of the tokens that end a response "
            f"({', '.join(named)}); give pair.merge_eos=true, or pair.stop_tokens that both have"
        )
    how = reader(alignment, student_tokenizer, teacher_tokenizer)
    all_ends = tuple(sorted(ends))
    stop_ids = (student_tokenizer.eos_token_id,) if pair.stop == "student" else all_ends
    if alignment.kind == "text":
        merged = (all_ends, teacher_ends) if pair.merge_eos else ((), ())
        grouped = _grouped(classes(alignment, student_tokenizer, teacher_tokenizer, *merged))
        columns = tuple(range(len(grouped.teacher_V)))
        return Pairing(alignment, grouped, columns, how, student_ends, teacher_ends, stop_ids)
    size = max(id for id, other in enumerate(teacher_of) if other >= 0 or id in ends) + 1
    unknown_V = torch.tensor([other < 0 for other in teacher_of[:size]])
    shared = Shared(
        size=size,
        unknown_V=unknown_V if bool(unknown_V.any()) else None,
        ends=all_ends if pair.merge_eos else (),
    )
    columns = (*(max(0, other) for other in teacher_of[:size]), *sorted(teacher_only))
    return Pairing(alignment, shared, columns, how, student_ends, teacher_ends, stop_ids)


def _all_rows(pair: PairConfig, alignment: Alignment) -> Alignment:
    """The alignment, in which `pair.vocabulary=all` matches every row that both heads have."""
    if alignment.kind != "ids":
        for key, value, default in (
            ("vocabulary", pair.vocabulary, "shared"), ("teacher.reads", pair.teacher.reads, "own")
        ):  # fmt: skip
            if value != default:
                raise ConfigError(
                    f"pair.{key}={value}: needs vocabularies with the same ids, but they match by "
                    f"{alignment.kind}; give pair.{key}={default}"
                )
    if pair.vocabulary == "shared":
        return alignment
    rows = min(
        loading.load_shape(each.path, each.revision, each.trust_remote_code).vocab_size
        for each in (pair.student, pair.teacher)
    )
    return replace(alignment, teacher_of=tuple(range(rows)), teacher_only=())


def _grouped(merged: Classes) -> Grouped:
    return Grouped(merged.count, torch.tensor(merged.student), torch.tensor(merged.teacher))
