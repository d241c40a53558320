"""Applies a model's chat template to questions and tokenizes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from esr_cli.config import ConfigError, ModelConfig, PairConfig
from esr_cli.models.literal import Literal
from esr_cli.tasks import tools
from esr_cli.types import Prompt, Question, without_ends

Turns = Sequence[Mapping[str, Any]]
# Stands in pair.teacher.system for the reference answer of a question.
REFERENCE = "{reference}"
# A string that no template contains.
MARKER = "esr-marker-6cb9"
PROBE = ({"role": "user", "content": "x"},)


@dataclass(frozen=True)
class Rendered:
    """A prompt's text; also its form for `Literal`, if the question spells special tokens.

    A `bare` text was made without a chat template, so the tokenizer's start tokens are missing.
    """

    text: str
    marked: str | None = None
    bare: bool = False


class Chat:
    """Formats prompts for one model: its chat template, `system` prompt and `thinking` switch.

    Content that the template does not support goes into the user's turns: the system text before
    the first turn, separated by a blank line, and the functions into the last turn, by a wording.
    Without a template the turns' contents are concatenated, each followed by a blank line. A raw
    question is its text alone, without template and system text. With
    `split_special_tokens` a special token that is spelt in the content is text.
    """

    def __init__(
        self, tokenizer: Any, system: str | None = None, thinking: bool = False,
        split_special_tokens: bool = True, before_response: str = "",
    ) -> None:  # fmt: skip
        self.tokenizer, self.system, self.thinking = tokenizer, system, thinking
        self.before_response = before_response
        self._literal = Literal(tokenizer) if split_special_tokens else None

    @classmethod
    def of(cls, tokenizer: Any, model: ModelConfig) -> Chat:
        """Creates the chat of a configured model."""
        return cls(
            tokenizer, model.system, model.thinking, model.split_special_tokens,
            model.before_response,
        )  # fmt: skip

    @cached_property
    def before_ids(self) -> tuple[int, ...]:
        """The token ids of `before_response`."""
        return tuple(self._plain_ids([self.before_response])[0]) if self.before_response else ()

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template renders a system turn; some drop it, some raise."""
        return self._renders_marker(({"role": "system", "content": MARKER}, *PROBE), ())

    @cached_property
    def shows_tools(self) -> bool:
        """Whether the template renders the offered functions."""
        function = {
            "name": MARKER, "description": "", "parameters": {"type": "object", "properties": {}}
        }  # fmt: skip
        return self._renders_marker(PROBE, (tools.offered(function),))

    def encode(self, question: Question, wording_in_text: str = "") -> tuple[int, ...]:
        """Returns the token ids of the prompt, up to the start of the response."""
        [ids] = self.ids([self.rendered(question, wording_in_text)])
        return tuple(ids)

    def text(self, question: Question, wording_in_text: str = "") -> str:
        """Returns the text of the prompt; raises `ConfigError` if the template fails."""
        return self.rendered(question, wording_in_text).text

    def rendered(self, question: Question, wording_in_text: str = "") -> Rendered:
        """Returns the text to tokenize; raises `ConfigError` if the template fails."""
        shown = self.shown(question, wording_in_text)
        content = [list(map(dict, shown.messages)), list(map(dict, shown.tools))]
        hidden = self._literal.hidden(content) if self._literal else content
        try:
            text = hidden[0][0]["content"] if question.raw else self.render(*hidden)
        except Exception as error:  # templates are third-party programs
            raise ConfigError(
                f"question {question.id}: the chat template refuses it ({error}); "
                "drop the row, or give the model another chat_template"
            ) from None
        bare = question.raw or not self.tokenizer.chat_template
        if self._literal is None or hidden == content:
            return Rendered(text, bare=bare)
        return Rendered(self._literal.restored(text), self._literal.marked(text), bare)

    def ids(self, prompts: Sequence[Rendered]) -> list[list[int]]:
        """Returns the token ids of each prompt; none ends with the tokenizer's end of text."""
        plain = [each.text for each in prompts if each.marked is None]
        marked = [each.marked for each in prompts if each.marked is not None]
        # What a tokenizer adds by itself is left to `_framed`.
        plain_ids = iter(self._plain_ids(plain) if plain else [])
        marked_ids = iter(self._literal.ids(marked) if self._literal and marked else [])
        return [
            self._framed(next(plain_ids if each.marked is None else marked_ids), each.bare)
            for each in prompts
        ]

    def _plain_ids(self, texts: list[str]) -> list[list[int]]:
        # verbose=False, because the length is checked elsewhere, not by the tokenizer's warning.
        return self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=False, verbose=False
        ).input_ids

    def _framed(self, ids: list[int], bare: bool) -> list[int]:
        """The ids; if `bare`, after the start tokens, unless they are there; no end of text."""
        kept = list(without_ends(ids, (self.tokenizer.eos_token_id,)))
        start = self._start if bare else []
        return kept if ids[: len(start)] == start else [*start, *kept]

    @cached_property
    def _start(self) -> list[int]:
        """The tokens that the tokenizer puts before a text (a template writes its own).

        A tokenizer may add an end of text too, which would leave nothing to answer.
        """
        framed, [bare] = self.tokenizer("a").input_ids, self._plain_ids(["a"])
        places = range(len(framed) - len(bare) + 1)
        return next((framed[:i] for i in places if framed[i : i + len(bare)] == bare), [])

    def shown(self, question: Question, wording_in_text: str = "") -> Question:
        """Returns the question with unsupported content moved into the user's turns."""
        if question.raw:
            return question
        if question.tools and not self.shows_tools:
            if not wording_in_text:
                raise ConfigError(
                    "wording_in_text='': the chat template has no place for functions; "
                    "give a text with {functions} and {problem}"
                )
            question = tools.in_text(question, wording_in_text)
        turns = self._with_system(question)
        return Question(question.id, turns, question.reference, question.tools)

    def _with_system(self, question: Question) -> tuple[Mapping[str, Any], ...]:
        turns = question.messages
        configured = [] if self.system is None else [_told(self.system, question)]
        existing = [turn["content"] for turn in turns[:1] if turn["role"] == "system"]
        rest, given = tuple(turns[len(existing) :]), [*configured, *existing]
        text = "\n\n".join(filter(None, given))
        if given and self.takes_system:
            return {"role": "system", "content": text}, *rest
        if not text:
            return rest
        first = next((i for i, turn in enumerate(rest) if turn["role"] == "user"), 0)
        first_turn = {**rest[first], "content": f"{text}\n\n{rest[first]['content']}"}
        return *rest[:first], first_turn, *rest[first + 1 :]

    def _renders_marker(self, turns: Turns, functions: Sequence[Any]) -> bool:
        try:
            return bool(self.tokenizer.chat_template) and MARKER in self._apply(turns, functions)
        except Exception:  # templates are third-party programs
            return False

    def render(self, turns: Turns, functions: Sequence[Any]) -> str:
        """Returns what the template makes of the turns; raises whatever it raises."""
        if not self.tokenizer.chat_template:
            return "".join(f"{turn['content']}\n\n" for turn in turns)
        text = self._apply(turns, functions)
        if turns[0]["role"] != "system" or turns[0]["content"]:
            return text
        # Some templates take an empty system text for none, and write their default.
        if text == self._apply(turns[1:], functions):
            marked = ({"role": "system", "content": MARKER}, *turns[1:])
            emptied = self._apply(marked, functions).replace(MARKER, "")
            return min(text, emptied, key=len)
        return text

    def _apply(self, turns: Turns, functions: Sequence[Any]) -> str:
        return self.tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tools=[dict(each) for each in functions] or None,
            add_generation_prompt=True, enable_thinking=self.thinking, tokenize=False,
        )  # fmt: skip


def untold(model: ModelConfig) -> ModelConfig:
    """The model without a system text that tells the answer, for an exam of its own."""
    return replace(model, system=None) if REFERENCE in (model.system or "") else model


def _told(system: str, question: Question) -> str:
    """The system text, in which a placeholder stands for the question's reference answer."""
    if REFERENCE not in system:
        return system
    if not isinstance(question.reference, str | int | float):
        raise ConfigError(
            f"a teacher's system text: question {question.id} has no reference answer for "
            f"{REFERENCE}; drop the row, or the placeholder"
        )
    return system.replace(REFERENCE, str(question.reference))


class StudentsPrompt(Chat):
    """The chat of a teacher that reads the student's prompt: the same ids."""

    def __init__(self, student: Chat, tokenizer: Any, model: ModelConfig) -> None:
        super().__init__(tokenizer, before_response=model.before_response)
        self._student = student

    def rendered(self, question: Question, wording_in_text: str = "") -> Rendered:
        """Returns the text as the student's chat renders it."""
        return self._student.rendered(question, wording_in_text)

    def ids(self, prompts: Sequence[Rendered]) -> list[list[int]]:
        """Returns the student's token ids of each prompt."""
        return self._student.ids(prompts)


def chats(pair: PairConfig, student_tokenizer: Any, teacher_tokenizer: Any) -> tuple[Chat, Chat]:
    """Returns the chats of student and teacher, which reads its own or the student's prompt."""
    student = Chat.of(student_tokenizer, pair.student)
    if pair.teacher.reads == "student":
        return student, StudentsPrompt(student, teacher_tokenizer, pair.teacher)
    return student, Chat.of(teacher_tokenizer, pair.teacher)


def prompt(question: Question, student: Chat, teacher: Chat, wording_in_text: str = "") -> Prompt:
    """Formats a question for student and teacher; the texts before responses come last."""
    student_ids = student.encode(question, wording_in_text)
    same = teacher is student
    return Prompt(
        id=question.id,
        text=student.shown(question, wording_in_text).messages[-1]["content"],
        student_ids=student_ids,
        teacher_ids=(
            student_ids if same
            else teacher.encode(question, wording_in_text) + teacher.before_ids
        ),
        before_ids=student.before_ids,
    )  # fmt: skip
