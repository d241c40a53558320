"""Questions of a benchmark that cannot be judged."""

from __future__ import annotations

import shutil

import pytest

from esr_cli.base.files import read_rows
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.exam import judge
from esr_cli.compare.sides import load
from esr_cli.config import BenchmarkConfig, TrackingConfig
from esr_cli.graders.figures import Response
from esr_cli.probe.analyses import stability
from esr_cli.runs.tracking import Tracker
from esr_cli.types import CodeReference, Question

WHOLE = "def f(x):\n    return 2 * x\n"


def benchmark(*canonical):
    settings = BenchmarkConfig(kind="code", family="humaneval", pass_at=[])
    references = [CodeReference("humaneval", "", "f", each, ((1,),), 1, 0.0) for each in canonical]
    message = ({"role": "user", "content": "Double x."},)
    questions = [Question(f"q{n}", message, each) for n, each in enumerate(references)]
    return catalog.Benchmark("humaneval", settings, questions)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_question_that_cannot_be_judged_is_left_out_and_named(tmp_path):
    asked = benchmark(WHOLE, "def f(x): return 1 / 0", WHOLE)
    responses = {"q0": [Response(WHOLE)], "q1": [Response(WHOLE)], "q2": [Response("no")]}
    grader = catalog.grader(asked.config, "bubblewrap", pytest.fail)
    found = judge(asked, grader, responses, 3)
    none = judge(benchmark("def f(x): return 1 / 0"), grader, {"q0": [Response(WHOLE)]}, 3)
    grader.close()
    assert (found.rows[0]["metric"], found.rows[0]["value"], found.rows[0]["n"]) == (
        "avg@1",
        0.5,
        2,
    )
    assert found.warning == (
        "warning: humaneval: 1 of 3 questions could not be judged and are left out of every "
        "figure: q1 (the canonical solution failed: ZeroDivisionError on call 1)"
    )
    assert [row["correct"] for row in found.generations] == [[True], None, [False]]
    assert none.rows == [] and "1 of 1 questions" in none.warning
    # Readers of the files leave it out as well.
    with Tracker(tmp_path, {}, TrackingConfig("disabled"), total_steps=1) as tracker:
        tracker.log_eval(none.rows, none.generations, 1.0)
        tracker.log_eval(found.rows, found.generations, 1.0)
    assert read_rows(tmp_path / "samples.jsonl")[0]["correct"] is None
    assert load("a", str(tmp_path), None)["humaneval"].by_id == {"q0": 1.0, "q2": 0.0}
    assert stability._scores(found.generations, 3) == {"q0": 1.0, "q2": 0.0}
