"""Compatibility of student and teacher: vocabularies, end-of-text tokens, chat templates."""

from __future__ import annotations

from typing import Any

from esr_cli.assembly import templates
from esr_cli.assembly.pairing import Pairing
from esr_cli.config import PairConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.shared import Grouped
from esr_cli.models.spelling import decoded
from esr_cli.models.token_bytes import special_ids
from esr_cli.tasks.chat import Chat
from esr_cli.types import Prompt

# A long prompt is shortened to this many characters of its beginning and end.
SHOWN_CHARS = 600


def vocabularies(
    pair: PairConfig, pairing: Pairing, student: Any, teacher: Any, rows: dict[str, int]
) -> list[Finding]:
    """Vocabulary sizes, the overlap, and the tokens that are masked out or merged into classes.

    `rows` is the number of rows of the output head, by role.
    """
    alignment = pairing.alignment
    method = {
        "ids": "the same ids",
        "tokens": "different ids, matched by spelling",
        "text": "different tokenizers: the teacher retokenizes the text",
    }[alignment.kind]
    text = (
        f"student {len(student):,} tokens in {rows['student']:,} rows, teacher {len(teacher):,} in "
        f"{rows['teacher']:,}; {method}; "
        f"{alignment.share:.1%} of the student's are known to the teacher"
    )
    special = (
        f"student has {len(special_ids(student))}, teacher {len(special_ids(teacher))}; "
        f"{_shared_specials(student, teacher)} in both"
    )
    findings = [Finding("ok", "vocabulary", text), Finding("ok", "special tokens", special)]
    if isinstance(pairing.shared, Grouped):
        in_classes = sum(number >= 0 for number in pairing.shared.student_V.tolist())
        text = f"{in_classes:,} of the student's tokens fall into {pairing.shared.size:,} classes"
        findings.append(Finding("ok", "classes", f"{text} shared with the teacher"))
    elif pair.vocabulary == "all":
        unused = pairing.shared.size - len(
            set(range(pairing.shared.size)) & _both(student, teacher)
        )
        text = (
            f"{pairing.shared.size:,} rows that both models have; {unused:,} are no token of both"
        )
        findings.append(Finding("ok", "softmaxes", f"over {text}"))
    elif lost := pairing.shared.masked(len(alignment.teacher_of)):
        examples = ", ".join(repr(t) for t in student.convert_ids_to_tokens(list(lost[:3])))
        text = f"{len(lost):,} of the student's tokens ({examples}{', …' if len(lost) > 3 else ''})"
        findings.append(Finding("warning", "masked tokens", f"{text} are masked out in training"))
    return findings


def _shared_specials(student: Any, teacher: Any) -> int:
    student_names, teacher_names = (
        set(tokenizer.convert_ids_to_tokens(sorted(special_ids(tokenizer))))
        for tokenizer in (student, teacher)
    )
    return len(student_names & teacher_names)


def _both(student: Any, teacher: Any) -> set[int]:
    """The ids that are the same token for both models."""
    known = teacher.get_vocab()
    return {number for token, number in student.get_vocab().items() if known.get(token) == number}


def prompts(pair: PairConfig, shown: list[Prompt], teacher: Any) -> list[Finding]:
    """The prompt before scored responses, if it is not the one that each model samples after."""
    findings = []
    if pair.teacher.reads == "student":
        text = "reads the ids of the student's prompt"
        foreign = {id for each in shown for id in each.student_ids} - set(
            teacher.get_vocab().values()
        )
        if foreign:
            text = (
                f"pair.teacher.reads=student: the teacher has no token {min(foreign)}, which is in "
                "the student's prompts"
            )
            findings.append(
                Finding("error", "teacher's prompt", text, "give pair.teacher.reads=own")
            )
        else:
            findings.append(Finding("ok", "teacher's prompt", text))
    if pair.teacher.before_response:
        text = f"{pair.teacher.before_response!r} stands before the responses that it scores"
        findings.append(Finding("ok", "teacher's prompt", text))
    if pair.student.before_response:
        text = (
            f"trained after {pair.student.before_response!r}, which is not there when it samples: "
            "it is not trained as it is used"
        )
        remedy = "pair.student.before_response='', unless the difference is what you study"
        findings.append(Finding("warning", "student's prompt", text, remedy))
    return findings


def ends(pair: PairConfig, pairing: Pairing, student: Any, teacher: Any) -> list[Finding]:
    """The tokens that end a response, and whether both chat templates close a turn with one."""
    named = [
        " ".join(map(str, tokenizer.convert_ids_to_tokens(list(ids))))
        for tokenizer, ids in (
            (student, pairing.student_ends),
            (teacher, pairing.teacher_ends),
            (student, pairing.stop_ids),
        )
    ]
    text = f"student {named[0]}, teacher {named[1]}; rollouts stop at {named[2]}"
    text += "" if pair.train_ends else ", and ends are not trained"
    many = len({*pairing.stop_ids, *pairing.student_ends}) > 1
    if many and not pair.merge_eos:
        remedy = "pair.merge_eos=true, unless the difference is what you study"
        findings = [Finding("warning", "end of text", f"{text}, compared separately", remedy)]
    else:
        text = f"{text}, compared as one" if many else text
        findings = [Finding("ok", "end of text", text)]
    findings += templates.of_pair(pair, pairing, student, teacher)
    findings += templates.dated("student", "pair.student", student)
    return [*findings, *templates.dated("teacher", "pair.teacher", teacher)]


def rendered(student: Chat, teacher: Chat, prompt: Prompt) -> list[tuple[str, str]]:
    """The first prompt as each model reads it; a long one is shortened in the middle."""
    both = [("student", student, prompt.student_ids), ("teacher", teacher, prompt.teacher_ids)]
    if prompt.before_ids:
        both.insert(1, ("student in training", student, prompt.trained_ids))
    return [(role, _short(decoded(chat.tokenizer, ids))) for role, chat, ids in both]


def _short(text: str) -> str:
    half = SHOWN_CHARS // 2
    return text if len(text) <= SHOWN_CHARS else f"{text[:half]}\n[…]\n{text[-half:]}"
