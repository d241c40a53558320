"""Questions through a model's chat template, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from esr_cli.config import ConfigError, ModelConfig
from esr_cli.tasks import tools
from esr_cli.types import Prompt, Question

Turns = Sequence[Mapping[str, str]]
# No template writes this by itself.
MARKER = "esr-marker-6cb9"
PROBE = ({"role": "user", "content": "x"},)


class Chat:
    """How one model is spoken to: its chat template, `system` prompt, and `thinking` where it can.

    What a template has no place for goes into the user's turns: the system text before the first,
    a blank line between them, and functions around the last, by a wording. Without any template
    the contents stand one after the other, a blank line after each.
    """

    def __init__(self, tokenizer: Any, system: str | None = None, thinking: bool = False) -> None:
        self.tokenizer, self.system, self.thinking = tokenizer, system, thinking

    @classmethod
    def of(cls, tokenizer: Any, model: ModelConfig) -> Chat:
        """The chat of a configured model."""
        return cls(tokenizer, model.system, model.thinking)

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system turn is shown; some templates drop it, some raise."""
        return self._shows(({"role": "system", "content": MARKER}, *PROBE), ())

    @cached_property
    def shows_tools(self) -> bool:
        """Whether the functions on offer are shown."""
        function = {
            "name": MARKER, "description": "", "parameters": {"type": "object", "properties": {}}
        }  # fmt: skip
        return self._shows(PROBE, (tools.offered(function),))

    def encode(self, question: Question, wording_in_text: str = "") -> tuple[int, ...]:
        """Token ids up to where the response begins."""
        [ids] = self.ids([self.text(question, wording_in_text)])
        return tuple(ids)

    def text(self, question: Question, wording_in_text: str = "") -> str:
        """What is tokenized; raises `ConfigError` where the template refuses the question."""
        shown = self.shown(question, wording_in_text)
        if not self.tokenizer.chat_template:
            return "".join(f"{turn['content']}\n\n" for turn in shown.messages)
        try:
            return self._render(shown.messages, shown.tools)
        except Exception as error:  # a template is a program of the model's author
            raise ConfigError(
                f"question {question.id}: the chat template refuses it ({error}); "
                "drop the row, or give the model another chat_template"
            ) from None

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text; a template has written its special tokens itself."""
        if not texts:
            return []
        special = not self.tokenizer.chat_template
        # Not verbose: whether a text is too long is decided by us, not told by the tokenizer.
        return self.tokenizer(texts, add_special_tokens=special, verbose=False).input_ids

    def shown(self, question: Question, wording_in_text: str = "") -> Question:
        """The question with everything in a place that the template has."""
        if question.tools and not self.shows_tools:
            if not wording_in_text:
                raise ConfigError(
                    "wording_in_text='': the chat template has no place for functions; "
                    "give a text with {functions} and {problem}"
                )
            question = tools.in_text(question, wording_in_text)
        turns = self._with_system(question.messages)
        return Question(question.id, turns, question.reference, question.tools)

    def _with_system(self, turns: Turns) -> tuple[Mapping[str, str], ...]:
        own = [self.system] if self.system else []
        theirs = [turn["content"] for turn in turns[:1] if turn["role"] == "system"]
        rest, text = tuple(turns[len(theirs) :]), "\n\n".join([*own, *theirs])
        if not text:
            return rest
        if self.takes_system:
            return {"role": "system", "content": text}, *rest
        first = next((i for i, turn in enumerate(rest) if turn["role"] == "user"), 0)
        asked = {**rest[first], "content": f"{text}\n\n{rest[first]['content']}"}
        return *rest[:first], asked, *rest[first + 1 :]

    def _shows(self, turns: Turns, functions: Sequence[Any]) -> bool:
        if not self.tokenizer.chat_template:
            return False
        try:
            return MARKER in self._render(turns, functions)
        except Exception:  # a template is a program of the model's author
            return False

    def _render(self, turns: Turns, functions: Sequence[Any]) -> str:
        return self.tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tools=[dict(each) for each in functions] or None,
            add_generation_prompt=True, enable_thinking=self.thinking, tokenize=False,
        )  # fmt: skip


def prompt(question: Question, student: Chat, teacher: Chat, wording_in_text: str = "") -> Prompt:
    """The same question as student and teacher read it."""
    student_ids = student.encode(question, wording_in_text)
    same = teacher is student
    return Prompt(
        id=question.id,
        text=student.shown(question, wording_in_text).messages[-1]["content"],
        student_ids=student_ids,
        teacher_ids=student_ids if same else teacher.encode(question, wording_in_text),
    )
