"""Reads and checks files of responses, by esr or another program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base.statistics import repeats
from esr_cli.base.words import counted
from esr_cli.benchmarks import formats
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.cutting import cut
from esr_cli.benchmarks.exam import Responses
from esr_cli.config import ConfigError
from esr_cli.graders import boxed
from esr_cli.graders.figures import Response
from esr_cli.tasks.rows import Row, read

MOST_TOKENS = 10**9
# How engines and servers name the end of a response.
FINISH = {
    "stop": (
        "stop", "eos", "eos_token", "eos_token_id", "eot", "end", "ended", "end_turn", "stop_token",
        "stop_sequence", "stop_string", "finish", "finished", "complete", "completed", "tool_call",
        "tool_calls", "tool_use", "function_call",
    ),
    "length": (
        "length", "max_tokens", "max_token", "max_length", "max_new_tokens", "max_output_tokens",
        "token_limit", "model_length", "context_length", "model_context_window_exceeded",
        "truncated", "incomplete",
    ),
    "other": (
        "other", "abort", "aborted", "cancelled", "canceled", "content_filter", "safety", "refusal",
        "recitation", "error", "timeout", "pause_turn", "repetition", "unknown",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What a file holds for a benchmark: the questions that it answers, and the responses to them.

    `benchmark` has these questions alone, and says so in its name. Its samples, and the k of its
    pass@k, are those that are there. `said` is a line about the file.
    """

    benchmark: Benchmark
    responses: Responses
    said: str


def for_benchmark(path: Path, benchmark: Benchmark, alone: bool) -> Answers:
    """The responses in `path` to a benchmark's questions; rows on others are ignored.

    The file may be of any format in `formats`. A row of esr's own may name its benchmark, and must
    if several are graded (not `alone`); in a file written by a run, the last evaluation counts. A
    response is cut at the benchmark's stop texts. Raises `ConfigError` if no question has
    responses, or if the questions differ in their number of responses.
    """
    rows = read(path)
    if not rows:
        raise ConfigError(f"generations={path}: holds no rows")
    kind = formats.format_of(rows[0])
    if kind == formats.OWN:
        responses = _own(rows, benchmark, alone)
    else:
        responses = {}
        for _, name, text in formats.samples(kind, rows, benchmark):
            response = _response(text, benchmark.config.stop_texts)
            responses.setdefault(name, []).append(response)
    answered = _answered(path, benchmark, responses)
    count = len(responses[answered.questions[0].id])
    said = (
        f"{path}: {formats.NAMES[kind]}; {counted(count, 'response')} to each of "
        f"{counted(len(answered.questions), 'question')}, graded as {answered.name}"
    )
    if left_out := [k for k in benchmark.config.pass_at if k > count]:
        said += f"; too few for {', '.join(f'pass@{k}' for k in left_out)}"
    asked = {each.id: responses[each.id] for each in answered.questions}
    return Answers(answered, asked, said + _unboxed(benchmark, asked))


def _unboxed(benchmark: Benchmark, responses: Responses) -> str:
    """What to know of a file of math without a single box."""
    config, texts = benchmark.config, [each.text for of in responses.values() for each in of]
    answers = boxed.marked if config.box == "marked" else boxed.boxes
    if config.kind != "math" or any(map(answers, texts)):
        return ""
    said = "; no response has a box, and without one none is right"
    if any(map(boxed.marked, texts)):
        said += f": benchmark.{benchmark.name}.box=marked takes what follows ####"
    return said


def _own(rows: list[Row], benchmark: Benchmark, alone: bool) -> dict[str, list[Response]]:
    matching = [row for row in rows if _is_of(row, benchmark.name, alone)]
    steps = [_step(row) for row in matching]
    last = max(steps, default=0)
    responses: dict[str, list[Response]] = {}
    for row, step in zip(matching, steps, strict=True):
        if step != last:
            continue
        name = _id(row)
        if name in responses:
            raise ConfigError(f"{row.where}: field 'id': {name} appears twice")
        responses[name] = _responses(row, benchmark.config.stop_texts)
    return responses


def _is_of(row: Row, benchmark: str, alone: bool) -> bool:
    named = row.values.get("benchmark")
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"{row.where}: field 'benchmark' must be a string")
    if named is None and not alone:
        raise ConfigError(f"{row.where}: field 'benchmark' is missing, and several are graded")
    # A part of a benchmark is read again as such.
    return named is None or named == benchmark or named.startswith(f"{benchmark} (")


def _responses(row: Row, stop_texts: list[str]) -> list[Response]:
    texts = row.get("responses", list)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{row.where}: field 'responses' must be a list of one or more strings")
    tokens = [_count(row, each) for each in _each(row, "tokens", len(texts))]
    finish = [_finish(row, each) for each in _each(row, "finish", len(texts))]
    return [
        _response(text, stop_texts, count, end)
        for text, count, end in zip(texts, tokens, finish, strict=True)
    ]


def _response(
    text: str, stop_texts: list[str], tokens: int | None = None, finish: str | None = None
) -> Response:
    kept = cut(text, stop_texts)
    if kept != text:
        # The count is that of the whole text.
        tokens, finish = None, "stop"
    # Repeats are counted in words, since the tokens of a text are unknown here.
    return Response(kept, tokens, finish, repeats(kept[-boxed.MOST_CHARS :].split()))


def _id(row: Row) -> str:
    name = row.values.get("id")
    if not isinstance(name, str | int) or type(name) is bool or name == "":
        raise ConfigError(f"{row.where}: field 'id' must be the id of a question")
    return str(name)


def _step(row: Row) -> int:
    return 0 if row.values.get("step") is None else row.get("step", int)


def _each(row: Row, field: str, count: int) -> list[Any]:
    """A field's value for each response; nulls if the row lacks the field."""
    values = row.values.get(field)
    if values is None:
        return [None] * count
    # Some engines write a row for each response.
    values = [values] if count == 1 and not isinstance(values, list) else values
    if not isinstance(values, list) or len(values) != count:
        raise ConfigError(
            f"{row.where}: field {field!r} must be a list with a value for each of the responses"
        )
    return values


def _count(row: Row, value: Any) -> int | None:
    """A number of tokens, given as a number, as its digits, or as the list of the tokens."""
    if isinstance(value, list):
        return len(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    whole = isinstance(value, int | float) and type(value) is not bool
    if value is None or (whole and 0 <= value <= MOST_TOKENS and value == int(value)):
        return None if value is None else int(value)
    raise ConfigError(f"{row.where}: field 'tokens' must hold numbers of tokens, not {value!r:.40}")


def _finish(row: Row, value: Any) -> str | None:
    """`stop`, `length`, `other`, or None if it is not known, from the word of any engine."""
    if value is None:
        return None
    word = str(value).rpartition(".")[2].lower().replace("-", "_") if type(value) is str else ""
    finish = next((name for name, words in FINISH.items() if word in words), None)
    if finish is None:
        known = ", ".join(word for words in FINISH.values() for word in words)
        raise ConfigError(f"{row.where}: field 'finish' is {value!r:.40}; known are {known}")
    return finish


def _answered(
    path: Path, benchmark: Benchmark, responses: dict[str, list[Response]]
) -> Benchmark:  # fmt: skip
    """The benchmark with the questions that have responses, as many each."""
    questions = [each for each in benchmark.questions if each.id in responses]
    if not questions:
        example = f"; its ids are like {next(iter(responses))}" if responses else ""
        raise ConfigError(
            f"generations={path}: no responses to any of "
            f"{counted(len(benchmark.questions), 'question')} of {benchmark.name}, whose ids are "
            f"like {benchmark.questions[0].id}{example}"
        )
    counts = {each.id: len(responses[each.id]) for each in questions}
    fewest, most = (pick(counts, key=lambda name: counts[name]) for pick in (min, max))
    if counts[fewest] != counts[most]:
        raise ConfigError(
            f"generations={path}: {counted(counts[fewest], 'response')} to {fewest} but "
            f"{counts[most]} to {most}; give the same number to each"
        )
    return benchmark.answered(questions, counts[most])
