"""Counts the wrong verdicts of the graders on files of cases whose right verdict is known.

    ESR_DATA=DATA python scripts/grade_cases.py FILE...

A FILE holds a JSON object a line: `kind`, `benchmark`, `response`, `expected` (the right verdict),
`why`, and either `gold`, the gold answer (math), or `id`, a question of the benchmark, which is
read from DATA. Responses are graded as by `esr eval generations=`. Prints, for each kind, the right
verdicts, the wrong answers graded as right, the right answers graded as wrong, and the CPU seconds
of this process and its workers, start-up included. Then it lists each wrong verdict. Exits with 1
if there is one.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from esr_cli.base.files import conf_dir
from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, EvalConfig, gate


@dataclass(frozen=True)
class Verdict:
    """A case, whether the grader graded it as right, and the grader's reason."""

    case: dict[str, Any]
    correct: bool
    reason: str

    @property
    def agrees(self) -> bool:
        """Returns whether the verdict is the expected one."""
        return self.correct == self.case["expected"]


def settings(benchmark: str) -> BenchmarkConfig:
    """The settings of a benchmark, from `conf/`."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("eval", overrides=[f"benchmark=[{benchmark}]", "model=esr:student"])
    return gate.read(tree, EvalConfig).benchmark[benchmark]


def judge(benchmark: str, cases: list[dict[str, Any]]) -> list[Verdict]:
    """Grades the cases of one benchmark in one call."""
    config = settings(benchmark)
    if "gold" in cases[0]:
        pairs = [(case["response"], case["gold"]) for case in cases]
    else:
        questions = catalog.load(benchmark, config, None).questions
        references = {question.id: question.reference for question in questions}
        pairs = [(case["response"], references[case["id"]]) for case in cases]
    grader = catalog.grader(config, "bubblewrap", print)
    try:
        grades = grader.grade(pairs)
    finally:
        grader.close()
    return [
        Verdict(case, grade.correct, grade.reason)
        for case, grade in zip(cases, grades, strict=True)
    ]


def cpu_seconds() -> float:
    """The CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def report(kind: str, verdicts: list[Verdict], seconds: float) -> list[Verdict]:
    """Prints the counts of one kind; returns its wrong verdicts, false rights first."""
    wrong = [each for each in verdicts if not each.agrees]
    false_rights = sum(each.correct for each in wrong)
    print(
        f"{kind}: {len(verdicts) - len(wrong)} right of {len(verdicts)}, {false_rights} false "
        f"rights, {len(wrong) - false_rights} false wrongs, {seconds:.1f} CPU s"
    )
    return sorted(wrong, key=lambda each: not each.correct)


def main(paths: list[Path]) -> bool:
    """Judges the files; returns whether all verdicts are right."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                case = json.loads(line)
                kinds.setdefault((case["kind"], case["benchmark"]), []).append(case)
    wrong: list[Verdict] = []
    for (kind, benchmark), cases in kinds.items():
        start = cpu_seconds()
        verdicts = judge(benchmark, cases)
        wrong += report(f"{kind} ({benchmark})", verdicts, cpu_seconds() - start)
    for each in wrong:
        shown = {name: each.case[name] for name in ("gold", "id", "response") if name in each.case}
        word = "FALSE RIGHT" if each.correct else "FALSE WRONG"
        print(f"{word} {json.dumps(shown, ensure_ascii=False)} | {each.case['why']}", end="")
        print(f" | {each.reason}")
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if main([Path(name) for name in sys.argv[1:]]) else 1)
