"""What is asked in training."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.benchmark import HubConfig
from esr_cli.config.errors import need, need_choice

TASKS = ("lab", "math", "code", "tools", "jsonl")


@dataclass
class TaskConfig:
    """Where training prompts come from: `name` says how the rows of `files` are read.

    `files` lie below `data_dir` (for jsonl also anywhere else); without them `hub` is downloaded;
    `source` tells a user what to fetch. `rows` reads the first so many. `wording` is the
    instruction, with `{problem}` where the problem stands; `wording_in_text` also shows the
    `{functions}` to models whose chat template has no place for them. Prompts longer than
    `max_prompt_tokens` (null: what the context leaves beside the response) are dropped, and so are
    duplicates, and prompts that share `ngram` words in a row (0: off) with a question in a file of
    `against` or of the run's own benchmarks. `chain_length` and `modulus` are the lab's.
    """

    name: str = "lab"
    files: list[str] = field(default_factory=list)
    hub: HubConfig = field(default_factory=lambda: HubConfig(split="train"))
    source: str = ""
    rows: int | None = None
    wording: str = "{problem}"
    wording_in_text: str = ""
    max_prompt_tokens: int | None = None
    drop_duplicates: bool = True
    ngram: int = 13
    against: list[str] = field(default_factory=list)
    chain_length: int = 12
    modulus: int = 7

    def __post_init__(self) -> None:
        need_choice("task", self.name, TASKS)
        for key in ("rows", "max_prompt_tokens"):
            value = getattr(self, key)
            need(value is None or value > 0, f"task.{key}", value, "give 1 or more, or null")
        need(self.ngram >= 0, "task.ngram", self.ngram, "give 1 or more words, or 0 for no filter")
        need("{problem}" in self.wording, "task.wording", self.wording, "it must hold {problem}")
        for part in ("{functions}", "{problem}"):
            shown = self.wording_in_text
            need(part in shown or not shown, "task.wording_in_text", shown, f"it must hold {part}")
        length = self.chain_length
        need(0 < length <= 26, "task.chain_length", length, "give 1 to 26 operations")
        need(self.modulus > 2, "task.modulus", self.modulus, "give a number above 2")
