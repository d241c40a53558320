"""Several models as teachers: each scores the responses to the rows that name it."""

from __future__ import annotations

import shutil

import pytest
from conftest import INLINE, SHORT, rows, same_end
from training_data import settings, write

from esr_cli.assembly import preflight
from esr_cli.assembly.data import fingerprint, make_task
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.check import facts
from esr_cli.config import ConfigError
from esr_cli.tasks import lab
from esr_cli.train import command as train

# The student is the teacher of the rows from b, so it has nothing to learn from them.
OTHER = ("teacher.by=source", "+pair.teachers.b.path=esr:student")
FILE = (
    "task=jsonl", "task.files=[mixed.jsonl]", "task.wording='{problem}'", "prompts_per_step=6",
)  # fmt: skip
MINE = (*FILE, *OTHER, *SHORT[1:], *INLINE, "prompts_per_step=6",
        "tune.schedule=constant",
        "eval_every=1", "benchmark.lab.max_tokens=16")  # fmt: skip


@pytest.fixture(autouse=True)
def mixed(tmp_path, monkeypatch):
    """A working folder with rows of three sources; only those of b have a reference."""
    monkeypatch.delenv("ESR_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    questions = [lab.question(at, "train", 12, 7) for at in range(12)]
    write(tmp_path / "mixed.jsonl", [
        {"messages": list(each.messages), "source": "abc"[at % 3],
         "reference": each.reference if at % 3 == 1 else None}
        for at, each in enumerate(questions)
    ])  # fmt: skip
    return tmp_path


def loaded(*overrides):
    """The configuration, the tokenizers and the task of these settings."""
    config = settings(*overrides)
    tokenizers = preflight.check_models(config)
    return config, tokenizers, make_task(config, *tokenizers)


def test_a_teacher_that_is_the_student_finds_nothing_to_correct(mixed):
    def run(*overrides):
        train.run(settings(*MINE, *overrides), [*MINE, *overrides])

    run("steps=2", "run_dir=whole")
    run("steps=1", "run_dir=parts")
    run("steps=2", "resume=parts")
    same_end(mixed / "whole", mixed / "parts")
    first, second = rows(mixed / "whole")
    assert first["train/reverse_kl/b"] < 1e-6 < 0.1 < first["train/reverse_kl/others"]
    # The other teacher has moved the student.
    assert second["train/reverse_kl/b"] > 1e-6
    assert "8 for pair.teacher (a, c), 4 for the teacher b" in (mixed / "whole/esr.log").read_text()


def test_each_teacher_reads_its_own_prompt():
    told = (*FILE, *OTHER, "+pair.teachers.b.system='it is {reference}'")
    config, tokenizers, task = loaded(*told)
    for prompt in task.train(0, 12):
        source = next(each.source for each in task.questions if each.id == prompt.id)
        assert prompt.teacher == ("b" if source == "b" else "")
        assert (prompt.teacher_ids == prompt.student_ids) == (source != "b")
    assert fingerprint(task) != fingerprint(loaded(*FILE, *OTHER)[2])
    pairing = resolve_pairing(config.pair, *tokenizers)
    found = facts.findings(facts.gather(config, *tokenizers, pairing, task))
    assert any(each.topic == "teacher b's template" for each in found)
    parts = facts.gather(config, *tokenizers, pairing, task).needs
    both = next(need.at_n for need in parts if need.part == "teacher's weights")
    config, tokenizers, task = loaded(*FILE)
    pairing = resolve_pairing(config.pair, *tokenizers)
    parts = facts.gather(config, *tokenizers, pairing, task).needs
    assert both == 2 * next(need.at_n for need in parts if need.part == "teacher's weights")


@pytest.mark.parametrize(("overrides", "message"), [
    (["teacher.by=source"], r"teacher.by=source: name the teachers"),
    (["+pair.teachers.b.path=esr:student"], r"pair.teachers=b: teacher.by=FIELD"),
    ([OTHER[0], "+pair.teachers.b=null"], r"pair.teachers.b=None: holds settings; give pair.tea"),
    ([OTHER[0], "+pair.teachers={others:{path:x}}"], r"pair.teachers=others: a name is of letters"),
    ([OTHER[0], "+pair.teachers={a b:{path:x}}"], r"pair.teachers=a b: a name is of letters"),
    ([*OTHER, "+pair.teachers.b.trust_remote_code=true"],
     r"pair.teachers.b.trust_remote_code=True: only pair.teacher may run code"),
    ([*OTHER, "+pair.teachers.b.reads=none"], r"pair.teachers.b.reads=none: choose"),
    ([*OTHER, "+pair.teachers.c.system=x"], r"pair.teachers.c.path=: name a model"),
    (["teacher.by=sort", OTHER[1]], r"mixed.jsonl:1: field 'sort' is missing"),
    ([OTHER[0], "+pair.teachers.x.path=esr:student"],
     r"pair.teachers.x: no row has source=x; there are a \(4\), b \(4\), c \(4\)"),
    ([*OTHER, "+pair.teachers.a.path=esr:student", "+pair.teachers.c.path=esr:student"],
     r"pair.teacher: no row is left for it"),
    ([*OTHER, "+pair.teachers.b.reads=student", "+pair.teachers.b.system='{reference}'"],
     r"pair.teachers.b.reads=student: \{reference\} in pair.teachers.b.system needs own"),
    (["teacher.by=source", "+pair.teachers.a.path=esr:student",
      "+pair.teachers.a.system='{reference}'"], r"has no reference answer"),
    ([*OTHER, "task=lab"], r"teacher.by=source: task=lab makes its problems"),
    ([*OTHER, "rollout_len=auto"], r"rollout_len=auto: the probe that measures N"),
    ([OTHER[0], "+pair.teachers.b.path=nowhere/x/y"], r"pair.teachers.b.path=nowhere/x/y: "),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message):
        loaded(*FILE, *overrides)


def test_teachers_of_another_vocabulary_are_refused(tiny_pair, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_pair / "teacher", other)
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"plan"', '"plans"'))
    pair = settings(*FILE, OTHER[0], f"+pair.teachers.b.path={other}").pair
    tokenizers = preflight.check_models(settings(*FILE))
    with pytest.raises(ConfigError, match=r"pair.teachers.b.path=.*same vocabulary"):
        resolve_pairing(pair, *tokenizers)
