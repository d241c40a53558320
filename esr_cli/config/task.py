"""Settings of the training prompts."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.benchmark import HubConfig, check_tools_in
from esr_cli.config.errors import need, need_choice
from esr_cli.config.words import WordsConfig

TASKS = ("lab", "words", "math", "code", "tools", "jsonl")
# Tasks that make their problems and read no rows.
MADE = ("lab", "words")


@dataclass
class SampleConfig:
    """`rows` random rows of those read, without repetition; null: all. `seed` determines which."""

    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        rows, seed = self.rows, self.seed
        need(rows is None or rows > 0, "task.sample.rows", rows, "give 1 or more, or null for all")
        need(seed >= 0, "task.sample.seed", seed, "give 0 or more")


@dataclass
class TaskConfig:
    """The source of the training prompts; `name` sets how the rows of `files` are parsed.

    `files` are below `data_dir` (for jsonl, any path works). If they are absent, `hub` is
    downloaded; `source` tells the user what to fetch. `rows` is the maximum number of rows to read,
    and `sample` draws from them before any filter. `wording` is the prompt template, with a
    `{problem}` placeholder; `wording_in_text` adds `{functions}` for models whose chat template
    does not support tools, and with `tools_in=text` for both models. `system` is a text for the
    system turn (null: none); it follows the model's own `system` text and precedes that of the
    prompt. Prompts longer than `max_prompt_tokens` (null: the context length minus the response)
    are dropped, as are duplicates and prompts that share `ngram` consecutive words (0: off) with a
    question in a file of `against` or in the run's own benchmarks. `chain_length` and `modulus`
    apply to the lab only, `words` to task=words.
    """

    name: str = "lab"
    files: list[str] = field(default_factory=list)
    hub: HubConfig = field(default_factory=lambda: HubConfig(split="train"))
    source: str = ""
    rows: int | None = None
    sample: SampleConfig = field(default_factory=SampleConfig)
    wording: str = "{problem}"
    wording_in_text: str = ""
    system: str | None = None
    tools_in: str = "template"
    max_prompt_tokens: int | None = None
    drop_duplicates: bool = True
    ngram: int = 13
    against: list[str] = field(default_factory=list)
    chain_length: int = 12
    modulus: int = 7
    words: WordsConfig = field(default_factory=WordsConfig)

    def __post_init__(self) -> None:
        need_choice("task", self.name, TASKS)
        for key in ("rows", "max_prompt_tokens"):
            value = getattr(self, key)
            need(value is None or value > 0, f"task.{key}", value, "give 1 or more, or null")
        drawn = self.sample.rows
        need(
            drawn is None or not self.made, "task.sample.rows", drawn,
            f"task={self.name} makes its problems and reads no rows; leave it out",
        )  # fmt: skip
        need(
            drawn is None or self.rows is None or drawn <= self.rows, "task.sample.rows", drawn,
            f"task.rows={self.rows} reads fewer; give at most that",
        )  # fmt: skip
        need(self.ngram >= 0, "task.ngram", self.ngram, "give 1 or more words, or 0 for no filter")
        need("{problem}" in self.wording, "task.wording", self.wording, "it must hold {problem}")
        for part in ("{functions}", "{problem}"):
            shown = self.wording_in_text
            need(part in shown or not shown, "task.wording_in_text", shown, f"it must hold {part}")
        check_tools_in("task", self.tools_in, self.wording_in_text)
        length = self.chain_length
        need(0 < length <= 26, "task.chain_length", length, "give 1 to 26 operations")
        need(2 < self.modulus <= 50, "task.modulus", self.modulus, "give 3 to 50")
        self.words.check("task.words")

    @property
    def made(self) -> bool:
        """Whether the task makes its problems and reads no rows."""
        return self.name in MADE
