"""Reads, filters and counts the data of a training task, without importing torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from esr_cli.assembly import model_folder
from esr_cli.assembly.objective import lengths_of
from esr_cli.base.files import find_data
from esr_cli.base.reading import printable
from esr_cli.base.words import counted
from esr_cli.config import ConfigError, TaskConfig, TrainConfig, teacher_key
from esr_cli.config.needed import named
from esr_cli.graders.boxed import last_box
from esr_cli.tasks import code, filters, glaive, math, own, rows
from esr_cli.tasks.chat import REFERENCE, Chat, chats
from esr_cli.tasks.fresh import FreshTask
from esr_cli.tasks.lab import LabTask
from esr_cli.tasks.rows import Row
from esr_cli.tasks.training import DataTask, Manner
from esr_cli.tasks.wording import placed, worded
from esr_cli.tasks.words import WordsTask
from esr_cli.types import Question

Task = FreshTask | DataTask
# Ignored fields of rows that a report names.
MOST_SHOWN = 6
# Those of task=jsonl count what they leave out; see `own`.
READERS: dict[str, Callable[[Row], Question | None]] = {
    "math": partial(math.training_question, last_box=last_box),
    "code": code.training_question,
    "tools": glaive.training_question,
}


def make_task(config: TrainConfig, student_tokenizer: Any, teacher_tokenizer: Any) -> Task:
    """The configured task; raises `ConfigError` if its data cannot be used."""
    student, teacher = chats(config.pair, student_tokenizer, teacher_tokenizer)
    task = config.task
    if task.name == "lab":
        return LabTask(
            task.chain_length, task.modulus, student, teacher, config.seed, task.system
        )  # fmt: skip
    if task.name == "words":
        fewest, most = task.words.changes
        return WordsTask(
            (fewest, most), task.words.largest, task.wording, student, teacher, config.seed,
            task.system,
        )  # fmt: skip
    pair, others = config.pair, {}
    for name, model in pair.teachers.items():
        tokenizer = model_folder.tokenizer(f"{teacher_key(name)}.path", model)
        _, others[name] = chats(replace(pair, teacher=model), student_tokenizer, tokenizer)
    return load(config, student, teacher, others)


def fingerprint(task: Task) -> str:
    """A hash of the training questions and of the first prompt as both models read it.

    It changes with the data, and with the chat template or the tokenizer.
    """
    asked = task.questions if isinstance(task, DataTask) else []
    digest = hashlib.sha256(repr(task.train(0, 1)).encode())
    manner = task.manner if isinstance(task, DataTask) else None
    teachers = (manner.teacher, *manner.teachers.values()) if manner else ()
    told = any(REFERENCE in (each.system or "") for each in teachers)
    several = len(teachers) > 1
    for each in asked:
        also = (*((each.reference,) if told else ()), *((each.source,) if several else ()))
        digest.update(repr((each.id, each.messages, each.tools, *also)).encode())
    return digest.hexdigest()[:16]


def load(
    config: TrainConfig, student: Chat, teacher: Chat, others: Mapping[str, Chat] | None = None
) -> DataTask:
    """The task's prompts, with a one-line report of how many rows each filter removed.

    `others` are the chats of further teachers by the source of their rows. Raises `ConfigError` if
    the data are missing or broken, if no prompt is left, or if a teacher has none.
    """
    others = others or {}
    task, counts = config.task, Counter[str]()
    overlap, absent = _benchmarks(config)
    source = _sampled(task, partial(_rows, task, config.data_dir), counts)
    by = config.teacher.by
    questions = list(_filtered(task, source, overlap, counts, by))
    del counts[f"{own.IGNORED}{by}"]
    if overlap.knows_any and not any(name.startswith("in ") for name in counts):
        counts["in benchmarks"] = 0
    limit = _limit(config)
    functions = task.wording_in_text if task.tools_in == "text" else ""
    questions = [
        placed(worded(each, task.wording), task.system, functions)
        for each in _with_unique_ids(questions)
    ]
    long = filters.too_long(questions, [student], limit, task.wording_in_text)
    for chat, asked in _by_teacher(questions, teacher, others):
        long |= filters.too_long(asked, [chat], limit, task.wording_in_text)
    counts["too long"] = len(long)
    kept = [each for each in questions if each.id not in long]
    notes = [*rows.folders(named(task), task.hub, config.data_dir), absent]
    report = _report(task, counts, len(kept), notes)
    if not kept:
        raise ConfigError(
            f"task={task.name}: no prompt is left ({report}); give other task.files, or raise "
            f"task.max_prompt_tokens (now {limit}) or pair.context_tokens"
        )
    if others:
        report += f"; {_shares(kept, others, str(by))}"
    manner = Manner(student, teacher, task.wording_in_text, others)
    return DataTask(kept, manner, config.seed, report)


def _by_teacher(
    questions: list[Question], teacher: Chat, others: Mapping[str, Chat]
) -> Iterator[tuple[Chat, list[Question]]]:
    """Each teacher's chat, and the questions whose responses it scores."""
    yield teacher, [each for each in questions if each.source not in others]
    for name, chat in others.items():
        yield chat, [each for each in questions if each.source == name]


def _shares(questions: list[Question], others: Mapping[str, Chat], by: str) -> str:
    """How many prompts each teacher has; raises `ConfigError` if one has none."""
    counts = Counter(each.source for each in questions)
    there = ", ".join(f"{source} ({count:,})" for source, count in counts.most_common(9))
    for name in others:
        if name not in counts:
            raise ConfigError(
                f"pair.teachers.{name}: no row has {by}={name}; there are {there}; name it as the "
                "rows do, or leave it out"
            )
    left = {source: count for source, count in counts.items() if source not in others}
    rest = sum(left.values())
    if not rest:
        raise ConfigError(
            f"pair.teacher: no row is left for it, as each {by} has a teacher of its own ({there});"
            " give one of them as pair.teacher"
        )
    own = [f"{counts[name]:,} for the teacher {name}" for name in others]
    shown = ", ".join([*list(left)[:5], *(["…"] if len(left) > 5 else [])])
    return ", ".join([f"{rest:,} for pair.teacher ({shown})", *own])


def _rows(task: TaskConfig, data_dir: str | None) -> Iterator[Row]:
    stream = rows.stream(f"task={task.name}", named(task), task.hub, task.source, data_dir)
    return islice(stream, task.rows)


def _sampled(
    task: TaskConfig, read: Callable[[], Iterator[Row]], counts: Counter[str]
) -> Iterator[Row]:
    """The rows of `task.sample`, in the order of the files: `read` is called twice, as a large data
    set does not fit into memory. The indices are those of Python's `random.sample`.
    """
    wanted = task.sample.rows
    if wanted is None:
        return read()
    counts["read"] = total = sum(1 for _ in read())
    if wanted > total:
        raise ConfigError(
            f"task.sample.rows={wanted}: task={task.name} has {counted(total, 'row')}; lower it to "
            f"{total}, or leave it out"
        )
    drawn = set(Random(task.sample.seed).sample(range(total), wanted))
    return (row for index, row in enumerate(read()) if index in drawn)


def _filtered(
    task: TaskConfig, source: Iterator[Row], overlap: filters.Overlap, counts: Counter[str],
    by: str | None,
) -> Iterator[Question]:  # fmt: skip
    """The usable questions, after all filters that need no tokenizer; updates `counts`.

    Their source is the field `by` of the row.
    """
    seen = filters.Duplicates()
    read = READERS.get(task.name) or partial(own.training_question, counts=counts)
    for row in source:
        counts["rows"] += 1
        question = read(row)
        if question is None:
            counts["unusable"] += 1
        elif task.drop_duplicates and seen.met(question):
            counts["duplicates"] += 1
        elif task.ngram and (name := overlap.find(filters.text_of(question))):
            counts[f"in {name}"] += 1
        else:
            yield replace(question, source=row.get(by, str).strip()) if by else question


def _benchmarks(config: TrainConfig) -> tuple[filters.Overlap, str]:
    """The n-grams of the benchmarks, and a note on those that are not in data_dir."""
    overlap, absent = filters.Overlap(config.task.ngram), []
    # Of a folder a benchmark has the files of its split, and others may be those of training.
    evaluated = [(file, of.hub.split) for of in config.benchmark.values() for file in of.files]
    against = [(file, "") for file in config.task.against]
    files = list(dict.fromkeys([*against, *evaluated])) if config.task.ngram else []
    for file, split in files:
        path = find_data(file, config.data_dir)
        if path is None:
            absent.append(_stem(file))
            continue
        for row in rows.scan(path, split):
            overlap.learn(_stem(file), filters.text_asked(row.values))
    if absent and len(absent) == len(files):
        return overlap, "no benchmark in data_dir to compare with"
    return overlap, f"not compared with {', '.join(absent)} (not in data_dir)" if absent else ""


def _stem(file: str) -> str:
    return Path(file).name.split(".")[0]


def _limit(config: TrainConfig) -> int:
    response = max(lengths_of(config).longest, config.pair.max_response_tokens)
    room, limit = config.pair.context_tokens - response, config.task.max_prompt_tokens
    if limit is not None and limit > room:
        raise ConfigError(
            f"task.max_prompt_tokens={limit}: pair.context_tokens={config.pair.context_tokens} "
            f"leaves {room} beside a response of {response}; lower it to {room}"
        )
    return room if limit is None else limit


def _with_unique_ids(questions: list[Question]) -> Iterator[Question]:
    """The same questions; a row that occurs more than once gets a numbered id each time."""
    first: dict[str, Question] = {}
    times = Counter[str]()
    for question in questions:
        known = first.setdefault(question.id, question)
        if known.messages != question.messages or known.tools != question.tools:
            raise ConfigError(
                f"task.files: id {question.id} is used by two different rows; give each its "
                "own, or none"
            )
        times[question.id] += 1
        count = times[question.id]
        yield question if count == 1 else replace(question, id=f"{question.id}-{count}")


def _report(task: TaskConfig, counts: Counter[str], left: int, notes: list[str]) -> str:
    first = counted(counts["rows"], "row")
    if task.sample.rows is not None:
        first = f"{counts['rows']:,} of {counts['read']:,} rows sampled (seed {task.sample.seed})"
    parts = [f"{task.name}: {first}"]
    if counts["unusable"]:
        parts.append(f"{counts['unusable']:,} unusable")
    if counts[own.DROPPED]:
        parts.append(f"{counted(counts[own.DROPPED], 'answer')} dropped")
    if task.drop_duplicates:
        parts.append(counted(counts["duplicates"], "duplicate"))
    parts += [f"{count:,} {name}" for name, count in counts.items() if name.startswith("in ")]
    parts.append(f"{counts['too long']:,} too long")
    ignored = [
        f"{printable(name.removeprefix(own.IGNORED)):.40} ({count:,})"
        for name, count in counts.most_common() if name.startswith(own.IGNORED)
    ]  # fmt: skip
    more = [f"and {len(ignored) - MOST_SHOWN} more"] if len(ignored) > MOST_SHOWN else []
    ignored_note = f"ignored: {', '.join(ignored[:MOST_SHOWN] + more)}" if ignored else ""
    left_out = f"{', '.join(parts)}; {counted(left, 'prompt')}"
    return "; ".join(filter(None, [left_out, ignored_note, *notes]))
