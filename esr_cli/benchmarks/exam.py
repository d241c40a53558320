"""One pass over a benchmark: an engine's responses, and their grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.base.statistics import repeats
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.cutting import cut, tokens_needed
from esr_cli.graders.figures import Graded, Response, figures, grade_all
from esr_cli.models.spelling import response_text
from esr_cli.types import Engine, Grader, Prompt, Rollout, Sampling

Responses = Mapping[str, Sequence[Response]]
# Questions that a warning names.
MOST_SHOWN = 3


@dataclass(frozen=True)
class Evaluation:
    """`rows` for eval.jsonl, the headline first; `generations` for generations.jsonl.

    `warning` is a line about the questions that could not be judged, empty if there is none.
    """

    rows: list[dict[str, Any]]
    generations: list[dict[str, Any]]
    warning: str = ""


@dataclass(frozen=True)
class Exam:
    """A benchmark with prompts tokenized for one model; see `preflight.exam`."""

    benchmark: Benchmark
    prompts: list[Prompt]
    sampling: Sampling
    tokenizer: Any

    def ask(self, engine: Engine, step: int) -> dict[str, list[Response]]:
        """Generates responses to every question; returns them by question id."""
        responses: dict[str, list[Response]] = {prompt.id: [] for prompt in self.prompts}
        for rollout in engine.generate(self.prompts, self.sampling.at(step)):
            responses[rollout.prompt.id].append(self.response_of(rollout))
        return responses

    def response_of(self, rollout: Rollout) -> Response:
        """Converts a rollout of this model to the form that graders and figures take.

        A response that is cut at a stop text ends there, as if the engine had stopped.
        """
        ids, finish = rollout.response_ids, rollout.finish
        stop_texts = self.benchmark.config.stop_texts
        text = response_text(self.tokenizer, ids, self.sampling.stop_ids)
        kept = cut(text, stop_texts)
        if kept != text:
            ids, finish = ids[: tokens_needed(self.tokenizer, ids, stop_texts)], "stop"
        return Response(kept, len(ids), finish, repeats(ids))


def judge(benchmark: Benchmark, grader: Grader, responses: Responses, step: int) -> Evaluation:
    """Grades the responses to every question of the benchmark."""
    answers = [(each.id, each.reference, responses[each.id]) for each in benchmark.questions]
    graded = grade_all(grader, answers)
    key = {"step": step, "benchmark": benchmark.name}
    part = {} if benchmark.of is None else {"of": benchmark.of}
    rows = [
        {**key, **row, **part, "settings": settings_hash(benchmark)}
        for row in figures(graded, grader, benchmark.config.pass_at)
    ]
    prompts = {each.id: each.messages[-1]["content"] for each in benchmark.questions}
    generations = [_generation({**key, "prompt": prompts[each.id]}, each) for each in graded]
    return Evaluation(rows, generations, unjudged(benchmark.name, graded))


def unjudged(name: str, graded: Sequence[Graded]) -> str:
    """A warning that names the questions that could not be judged; empty if all were."""
    left_out = [each for each in graded if not each.judged]
    if not left_out:
        return ""
    shown = [
        f"{each.id} ({next(grade.reason for grade in each.grades if not grade.judged)})"
        for each in left_out[:MOST_SHOWN]
    ]
    more = [f"{len(left_out) - MOST_SHOWN} more"] if len(left_out) > MOST_SHOWN else []
    return (
        f"warning: {name}: {len(left_out)} of {len(graded)} questions could not be judged and are "
        f"left out of every figure: {', '.join(shown + more)}"
    )


def settings_hash(benchmark: Benchmark) -> str:
    """Eight hex digits that depend on questions, wording, sampling and budget, but not on `limit`,
    nor on the folder of a file with an absolute path.

    Files of one's own count by the questions in them, published ones by their names.
    """
    settings = asdict(benchmark.config)
    if benchmark.content:
        settings |= {"files": [benchmark.content], "answers": []}
    for key in ("files", "answers"):
        settings[key] = [Path(x).name if Path(x).is_absolute() else x for x in settings[key]]
    return files.hash_of(settings)[:8]


def _generation(fields: dict[str, Any], graded: Graded) -> dict[str, Any]:
    row: dict[str, Any] = {"id": graded.id, **fields}
    row["responses"] = [response.text for response in graded.responses]
    row["correct"] = [grade.correct for grade in graded.grades] if graded.judged else None
    row["reason"] = [grade.reason for grade in graded.grades]
    for name in sorted({name for grade in graded.grades for name in grade.also}):
        row[name] = [grade.verdict(name) for grade in graded.grades]
    if graded.responses[0].tokens is not None:
        row["tokens"] = [response.tokens for response in graded.responses]
        row["finish"] = [response.finish for response in graded.responses]
    return row
