"""Output of the sandbox: values, digests, and malformed output."""

from __future__ import annotations

import json
import time
from array import array
from collections import UserDict, UserList, UserString, deque
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest

from esr_cli.graders import oracles, spelling, wire
from esr_cli.types import CodeReference

VALUES = [
    None, True, 0, -(1 << 49), 1 << 51, -(10**5000), 0.1, -0.0, 1e300, float("inf"), 1j, -2.5 - 0j,
    "", 'q"\\\n\ud800é', b"\x00\xff", [], (), set(), frozenset({1}), {}, [[1, (2, {"a": {3}})], {}],
    {(1, 2): [None], True: "x"},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_survives_the_round_trip(value):
    back = wire.decode(json.loads(spelling.Speller(10**6).spell(value)))
    assert back == value and type(back) is type(value)
    if isinstance(value, float | complex):
        assert str(back) == str(value)  # the sign of zero as well


def test_subclasses_and_numpy_scalars_are_read_as_their_base_type():
    class Text(str):
        def __str__(self):
            return "lie"

    class Many(list):
        def __iter__(self):
            return iter("lie")

    given = [Text("a"), Many([1]), np.float64(0.5), np.int32(7), np.bool_(True)]
    back = wire.decode(json.loads(spelling.Speller(999).spell(given)))
    assert back == ["a", [1], 0.5, 7, True]
    assert [type(item) for item in back] == [str, list, float, int, bool]
    assert isinstance(wire.decode(json.loads(spelling.Speller(99).spell(range(3)))), wire.Opaque)
    assert isinstance(wire.decode(json.loads(spelling.Speller(99).spell(np.ones(3)))), wire.Opaque)


class Shelf(UserList):
    """A subclass with a lie, which is not asked."""

    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Fraction(15, 2), 7.5), (Fraction(-3), -3), (Decimal("7.5"), 7.5), (Decimal("1E+2"), 100),
        (UserList([1, UserList([2])]), [1, [2]]), (Shelf([1]), [1]), (UserDict(a=1), {"a": 1}),
        (UserString("ab"), "ab"), (bytearray(b"a"), b"a"), ({1: 2}.keys(), {1}),
        ({1: 2}.items(), {(1, 2)}), (MappingProxyType({1: 2}), {1: 2}), (deque([1]), None),
        (array("i", [1]), None), (range(2), None), (iter([1]), None),
    ],
)  # fmt: skip
def test_standard_classes_equal_what_python_says_they_equal(value, plain):
    back = wire.decode(json.loads(spelling.Speller(999).spell(value)))
    assert (back == plain) if plain is not None else isinstance(back, wire.Opaque)
    if plain is not None:
        assert spelling.digest(value) == spelling.digest(plain) != spelling.digest([plain, 0])


@pytest.mark.parametrize(
    "node",
    [["f", "1", "0"], ["f", "1", "-0"], ["f", "1"], ["f", "f" * 5000, "3"], ["D", "1,5"],
     ["D", "9" * 5000], ["f", 1, 2], ["D", 1.5]],
)  # fmt: skip
def test_malformed_or_long_exact_numbers_are_refused(node):
    with pytest.raises((ValueError, TypeError)):
        wire.decode(node)


def test_equal_values_share_a_digest_and_others_do_not():
    same = [[1, [2, "a"]], [1.0, [2, "a"]], [True, [np.int64(2), "a"]], [1 + 0j, [2.0, "a"]]]
    assert len({spelling.digest(value) for value in same}) == 1
    other = [
        [1, (2, "a")],
        (1, [2, "a"]),
        [1, [2, "b"]],
        [1, [2], "a"],
        [[1], [2, "a"]],
        [1, 2, "a"],
    ]
    assert len({spelling.digest(value) for value in [same[0], *other]}) == 1 + len(other)
    assert spelling.digest({3, 1, "x"}) == spelling.digest(frozenset({"x", 1, 3.0}))
    assert spelling.digest({1: [2], "a": 0}) == spelling.digest({"a": 0.0, True: [2]})
    assert spelling.digest({1: 2}) != spelling.digest({2: 1})
    for value in ([float("nan")], [object()], [[len]]):
        with pytest.raises(spelling.NoForm):
            spelling.digest(value)


COLLIDING = [["i", f"{i * (2**61 - 1):x}"] for i in range(1, 20_000)]


@pytest.mark.parametrize(
    "value",
    [
        ["s", *COLLIDING], ["z", *COLLIDING], ["d", *(part for i in COLLIDING for part in (i, 0))],
        ["s", *(["t", i] for i in COLLIDING)], ["l", ["s", *(["z", i] for i in COLLIDING)]],
    ],
    ids=["set", "frozenset", "keys", "tuples", "sets"],
)  # fmt: skip
def test_values_chosen_to_collide_are_refused_in_linear_time(value):
    line = f'x ["ready"]\nx ["ok",0.1,"set",{json.dumps(value)}]\n'
    began = time.process_time()
    *_, last = wire.read(line.encode(), "x", 1)
    assert last == wire.Failure(wire.MALFORMED)
    # Built as a set, they take from seconds to minutes.
    assert time.process_time() - began < 3


def test_a_set_task_refuses_a_list_of_colliding_values():
    reference = CodeReference("mbpp", "", "Diff", "", ((),), 1, 0.0)
    numbers = [i * (2**61 - 1) for i in range(1, 20_000)]
    result = wire.Result(numbers, "builtins.list", 0.1)
    assert not oracles.is_right(reference, (), result, result)


@pytest.mark.parametrize(
    "output",
    [
        b'x ["ready"]\nx ["ok",0.1,"int",["x",1]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["i","0x1"]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",{"i":"1"}]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["s",["l"]]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["d",1]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",[]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int"]\n',
        b'x ["ready"]\nx ["ready"]\n',
        b'x ["ready"]\ny ["ok",0.1,"int",1]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",1]\nx ["ok",0.1,"int",1]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",' + b"[" * 99999 + b"]\n",
        b'x ["ready"]\nx ["ok",0.1,"int",' + b"9" * 9999 + b"]\n",
        b'x ["ready"]\n\xff\n',
        b'x ["ok",0.1,"int",1]\n',
        b"\n",
    ],
    ids=lambda output: repr(output)[:48],
)
def test_malformed_output_is_a_failure(output):
    assert list(wire.read(output, "x", 1)) == [wire.Failure(wire.MALFORMED)]


def test_a_truncated_line_is_ignored():
    whole = b'x ["ready"]\nx ["ok",0.1,"int",1]\n'
    assert list(wire.read(whole + b'x ["ok",0.1,"in', "x", 2)) == [wire.Result(1, "int", 0.1)]
