"""Coding questions from the rows of HumanEval, HumanEval+ and MBPP+, and training instructions
from CodeUltraFeedback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from esr_cli.tasks.rows import Row
from esr_cli.types import CodeReference, Question

Convert = Callable[[Any], Any]


def reference(row: Mapping[str, Any], family: str, plus: bool) -> CodeReference:
    """Returns the reference of a row (`family` humaneval or mbpp), with or without plus inputs.

    Only the rows of HumanEval+ and MBPP+ hold both kinds of inputs.
    """
    inputs = [*row["base_input"], *((row["plus_input"] or ()) if plus else ())]
    if family == "mbpp":
        inputs = [_converted(row["task_id"], given) for given in inputs]
    return CodeReference(
        family=family,
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        canonical=row["prompt"] + row["canonical_solution"],
        inputs=tuple(tuple(given) for given in inputs),
        base_count=len(row["base_input"]),
        atol=float(row["atol"]),
    )


def _same(value: Any) -> Any:
    return value


def _tuples(value: list[Any]) -> list[Any]:
    return [tuple(item) for item in value]


def _tuple_of_tuples(value: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(item) for item in value)


def _tuple_of_lists_or_not(value: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)


def _sets(value: list[Any]) -> list[Any]:
    # An empty set is published as a dictionary.
    return [set(item) if isinstance(item, list) and item else {} for item in value]


def _all_tuples(value: Any) -> Any:
    return tuple(_all_tuples(item) for item in value) if isinstance(value, list) else value


def _values_to_tuples(value: dict[Any, list[Any]]) -> dict[Any, Any]:
    return {key: tuple(item) for key, item in value.items()}


# Python types of MBPP+ (v0.2.0) inputs that JSON stores as lists and strings: the task numbers and
# the conversion of each argument. The last conversion also applies to the remaining arguments.
# fmt: off
CONVERSIONS: tuple[tuple[tuple[int, ...], tuple[Convert, ...]], ...] = (
    (
        (
            2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630,
            726, 740, 744, 809,
        ),
        (tuple,),
    ),
    ((63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780), (_tuples,)),
    ((75, 413, 444, 753), (_tuples, _same)),
    ((106, 750), (_same, tuple)),
    ((115,), (_sets,)),
    ((124,), (float, complex)),
    ((250, 307, 405, 446, 617, 720, 763, 808), (tuple, _same)),
    ((252,), (complex,)),
    ((259, 401, 445), (_tuple_of_tuples,)),
    ((278,), (_tuple_of_lists_or_not,)),
    ((580, 615, 791), (_all_tuples,)),
    ((722,), (_values_to_tuples, _same)),
)
# fmt: on
BY_TASK = {number: conversions for numbers, conversions in CONVERSIONS for number in numbers}


def _converted(task_id: str, given: list[Any]) -> list[Any]:
    conversions = BY_TASK.get(int(task_id.rpartition("/")[2]), (_same,))
    padded = [*conversions, *[conversions[-1]] * len(given)]
    return [read(value) for read, value in zip(padded, given, strict=False)]


def question(row: Row, family: str, plus: bool, wording: str | None) -> Question:
    """Returns the question of a HumanEval+ or MBPP+ row; `ConfigError` if a field is missing.

    Without a wording it is raw: the model continues the row's code, framed as evalplus does for
    base models.
    """
    for field in ("task_id", "prompt", "entry_point", "canonical_solution"):
        row.get(field, str)
    row.get("base_input", list)
    # One published row of MBPP+ has {} instead of an empty list.
    if plus and row.values.get("plus_input") != {}:
        row.get("plus_input", list)
    asked, known = row.get("prompt", str), reference(row.values, family, plus)
    if wording is None:
        text = asked.strip() + "\n"
        known = replace(known, prompt=text)
    else:
        text = wording.replace("{problem}", asked.strip("\n"))
    return Question(
        id=row.get("task_id", str),
        messages=({"role": "user", "content": text},),
        reference=known,
        raw=wording is None,
    )


def training_question(row: Row) -> Question | None:
    """Returns the instruction of a CodeUltraFeedback row without its responses; None if blank."""
    instruction = row.text("instruction")
    if instruction is None:
        return None
    turn = {"role": "user", "content": instruction}
    return Question(id=row.id, messages=(turn,), reference=None)
