"""How student and teacher meet: vocabularies, ends of text, chat templates."""

from __future__ import annotations

from typing import Any

from esr_cli.assembly.pairing import Pairing
from esr_cli.config import ModelConfig, PairConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.shared import Grouped
from esr_cli.models.token_bytes import special_ids
from esr_cli.tasks.chat import Chat
from esr_cli.types import Prompt

MARK = "esr-answer-5d1c"
TURNS = [{"role": "user", "content": "x"}, {"role": "assistant", "content": MARK}]
# Of a long prompt the beginning and the end.
SHOWN_CHARS = 600


def vocabularies(pair: PairConfig, found: Pairing, student: Any, teacher: Any) -> list[Finding]:
    """Sizes, overlap, and what follows from them."""
    alignment = found.alignment
    how = {
        "ids": "the same ids",
        "tokens": "other ids, met by their spelling",
        "text": "unlike tokenizers: the teacher reads the text anew",
    }[alignment.kind]
    said = (
        f"student {len(student):,} tokens, teacher {len(teacher):,}; {how}; "
        f"{alignment.share:.1%} of the student's are known to the teacher"
    )
    special = (
        f"student has {len(special_ids(student))}, teacher {len(special_ids(teacher))}; "
        f"{_shared_specials(student, teacher)} of one spelling"
    )
    findings = [Finding("ok", "vocabulary", said), Finding("ok", "special tokens", special)]
    if isinstance(found.shared, Grouped):
        inside = sum(number >= 0 for number in found.shared.student_V.tolist())
        said = f"{inside:,} of the student's tokens fall into {found.shared.size:,} classes"
        findings.append(Finding("ok", "classes", f"{said} that both can name"))
    elif lost := found.shared.masked(len(alignment.teacher_of)):
        few = ", ".join(repr(t) for t in student.convert_ids_to_tokens(list(lost[:3])))
        said = f"{len(lost):,} of the student's tokens ({few}{', …' if len(lost) > 3 else ''})"
        findings.append(Finding("warning", "barred", f"{said} are never drawn in training"))
    return findings


def _shared_specials(student: Any, teacher: Any) -> int:
    ours, theirs = (
        set(tokenizer.convert_ids_to_tokens(sorted(special_ids(tokenizer))))
        for tokenizer in (student, teacher)
    )
    return len(ours & theirs)


def ends(pair: PairConfig, found: Pairing, student: Any, teacher: Any) -> list[Finding]:
    """Where responses end, and whether both templates end a turn there."""
    named = [
        " ".join(map(str, tokenizer.convert_ids_to_tokens(list(ids))))
        for tokenizer, ids in (
            (student, found.student_ends),
            (teacher, found.teacher_ends),
            (student, found.stop_ids),
        )
    ]
    said = f"student {named[0]}, teacher {named[1]}; rollouts stop at {named[2]}"
    many = len(found.stop_ids) > 1
    if many and not pair.merge_eos:
        remedy = "pair.merge_eos=true, unless the difference is what you study"
        findings = [Finding("warning", "end of text", f"{said}, compared apart", remedy)]
    else:
        told = f"{said}, compared as one" if many else said
        findings = [Finding("ok", "end of text", told)]
    findings += template_ends("student", pair.student, student, found.stop_ids)
    return findings + template_ends("teacher", pair.teacher, teacher, found.teacher_ends)


def template_ends(
    role: str, model: ModelConfig, tokenizer: Any, stops: tuple[int, ...]
) -> list[Finding]:
    """An error where the chat template closes an answer without any of the ends of text."""
    topic = f"{role}'s template"
    if not tokenizer.chat_template:
        said = "no chat template: the contents stand one after the other"
        return [Finding("warning", topic, said, f"pair.{role}.chat_template=FILE, if it had one")]
    try:
        text = tokenizer.apply_chat_template(TURNS, tokenize=False, enable_thinking=model.thinking)
    except Exception as error:  # a template is a program of the model's author
        said = f"pair.{role}.path={model.path}: its chat template refuses an answer ({error})"
        return [Finding("error", topic, said, f"give another pair.{role}.chat_template")]
    after = text.partition(MARK)[2]
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(list(stops))]
    used = [name for name in names if name in after]
    if used:
        return [Finding("ok", topic, f"closes an answer with {used[0]}")]
    closing = repr(after.strip()[:40]) if after.strip() else "nothing"
    said = (
        f"pair.{role}.path={model.path}: its chat template closes an answer with {closing}, none "
        f"of the ends of text ({', '.join(names)})"
    )
    return [Finding("error", topic, said, "name that token in pair.stop_tokens")]


def rendered(student: Chat, teacher: Chat, prompt: Prompt) -> list[tuple[str, str]]:
    """The first prompt as each model reads it, long ones shortened in the middle."""
    both = (("student", student, prompt.student_ids), ("teacher", teacher, prompt.teacher_ids))
    return [(role, _short(chat.tokenizer.decode(ids))) for role, chat, ids in both]


def _short(text: str) -> str:
    half = SHOWN_CHARS // 2
    return text if len(text) <= SHOWN_CHARS else f"{text[:half]}\n[…]\n{text[-half:]}"
