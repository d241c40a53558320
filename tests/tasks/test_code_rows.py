"""Rows of code benchmarks become references."""

from __future__ import annotations

from esr_cli.tasks.code import reference
from esr_cli.tasks.rows import Row
from esr_cli.types import CodeReference


def row(task_id, base):
    return {
        "task_id": task_id, "entry_point": "f", "prompt": "", "canonical_solution": "",
        "base_input": base, "plus_input": [], "atol": 0,
    }  # fmt: skip


def test_mbpp_inputs_get_python_types():
    row = {
        "prompt": "", "entry_point": "f", "canonical_solution": "", "atol": 0, "plus_input": {},
    }  # fmt: skip

    def given(task_id, *inputs):
        return reference({**row, "task_id": task_id, "base_input": [*inputs]}, "mbpp", True).inputs

    assert given("Mbpp/2", [[1], [2]]) == (((1,), (2,)),)
    assert given("Mbpp/115", [[[1], []]]) == (([{1}, {}],),)
    assert given("Mbpp/124", ["1", "2j"]) == ((1.0, 2j),)
    assert given("Mbpp/722", [{"a": [1]}, 2]) == (({"a": (1,)}, 2),)
    assert given("Mbpp/3", [[1]]) == (([1],),)


def test_each_conversion_of_mbpp_inputs():
    cases = {
        2: ([[1], [2]], [(1,), (2,)]),
        63: ([[[1, 2]]], [[(1, 2)]]),
        75: ([[[1, 2]], 3], [[(1, 2)], 3]),
        106: ([[1], [2]], [[1], (2,)]),
        115: ([[[1, 2], []]], [[{1, 2}, {}]]),
        124: (["0", "1j"], [0.0, 1j]),
        250: ([[1], 2], [(1,), 2]),
        252: (["(1+2j)"], [1 + 2j]),
        259: ([[[1]], [[2]]], [((1,),), ((2,),)]),
        278: ([[1, [2]]], [(1, (2,))]),
        307: ([[1], 2, [3]], [(1,), 2, [3]]),
        580: ([[1, [2, [3]]]], [(1, (2, (3,)))]),
        722: ([{"a": [1]}, 2, 3], [{"a": (1,)}, 2, 3]),
        3: ([[1], [[2]]], [[1], [[2]]]),
    }
    for number, (published, meant) in cases.items():
        data = row(f"Mbpp/{number}", [published])
        (given,) = reference(data, "mbpp", plus=True).inputs
        assert list(given) == meant, number
        (given,) = reference(data, "humaneval", plus=True).inputs
        assert list(given) == published


def test_a_row_becomes_a_reference():
    values = {
        "task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f",
        "canonical_solution": "    return 2 * x\n", "base_input": [[1]], "plus_input": [[2]],
        "atol": 0,
    }  # fmt: skip
    whole = "def f(x):\n    return 2 * x\n"
    expected = CodeReference("humaneval", "def f(x):\n", "f", whole, ((1,), (2,)), 1, 0.0)
    assert reference(Row("x:1", 0, values).values, "humaneval", True) == expected
