"""Applies a model's chat template to questions and tokenizes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from esr_cli.config import ConfigError, ModelConfig
from esr_cli.tasks import tools
from esr_cli.types import Prompt, Question

Turns = Sequence[Mapping[str, str]]
# A string that no template contains.
MARKER = "esr-marker-6cb9"
PROBE = ({"role": "user", "content": "x"},)


class Chat:
    """Formats prompts for one model: its chat template, `system` prompt and `thinking` switch.

    Content that the template does not support goes into the user's turns: the system text before
    the first turn, separated by a blank line, and the functions into the last turn, by a wording.
    Without a template the turns' contents are concatenated, each followed by a blank line.
    """

    def __init__(self, tokenizer: Any, system: str | None = None, thinking: bool = False) -> None:
        self.tokenizer, self.system, self.thinking = tokenizer, system, thinking

    @classmethod
    def of(cls, tokenizer: Any, model: ModelConfig) -> Chat:
        """Creates the chat of a configured model."""
        return cls(tokenizer, model.system, model.thinking)

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
        [ids] = self.ids([self.text(question, wording_in_text)])
        return tuple(ids)

    def text(self, question: Question, wording_in_text: str = "") -> str:
        """Returns the text to tokenize; raises `ConfigError` if the template fails."""
        shown = self.shown(question, wording_in_text)
        if not self.tokenizer.chat_template:
            return "".join(f"{turn['content']}\n\n" for turn in shown.messages)
        try:
            return self.render(shown.messages, shown.tools)
        except Exception as error:  # templates are third-party programs
            raise ConfigError(
                f"question {question.id}: the chat template refuses it ({error}); "
                "drop the row, or give the model another chat_template"
            ) from None

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Returns the token ids of each text; a template has already added special tokens."""
        if not texts:
            return []
        special = not self.tokenizer.chat_template
        # verbose=False, because the length is checked elsewhere, not by the tokenizer's warning.
        return self.tokenizer(texts, add_special_tokens=special, verbose=False).input_ids

    def shown(self, question: Question, wording_in_text: str = "") -> Question:
        """Returns the question with unsupported content moved into the user's turns."""
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
        configured = [self.system] if self.system else []
        existing = [turn["content"] for turn in turns[:1] if turn["role"] == "system"]
        rest, text = tuple(turns[len(existing) :]), "\n\n".join([*configured, *existing])
        if not text:
            return rest
        if self.takes_system:
            return {"role": "system", "content": text}, *rest
        first = next((i for i, turn in enumerate(rest) if turn["role"] == "user"), 0)
        first_turn = {**rest[first], "content": f"{text}\n\n{rest[first]['content']}"}
        return *rest[:first], first_turn, *rest[first + 1 :]

    def _renders_marker(self, turns: Turns, functions: Sequence[Any]) -> bool:
        if not self.tokenizer.chat_template:
            return False
        try:
            return MARKER in self.render(turns, functions)
        except Exception:  # templates are third-party programs
            return False

    def render(self, turns: Turns, functions: Sequence[Any]) -> str:
        """Returns what the template makes of the turns; raises whatever it raises."""
        return self.tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tools=[dict(each) for each in functions] or None,
            add_generation_prompt=True, enable_thinking=self.thinking, tokenize=False,
        )  # fmt: skip


def prompt(question: Question, student: Chat, teacher: Chat, wording_in_text: str = "") -> Prompt:
    """Formats a question for student and teacher, each with its own chat template."""
    student_ids = student.encode(question, wording_in_text)
    same = teacher is student
    return Prompt(
        id=question.id,
        text=student.shown(question, wording_in_text).messages[-1]["content"],
        student_ids=student_ids,
        teacher_ids=student_ids if same else teacher.encode(question, wording_in_text),
    )
