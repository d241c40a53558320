"""Settings of a benchmark: its questions, its grader and its sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice, need_choices, one_of
from esr_cli.config.rollout import check_temperature
from esr_cli.config.words import WordsConfig

KINDS = ("lab", "words", "math", "code", "tools")
# Kinds whose responses hold boxes.
BOXED = ("lab", "words", "math")
PROMPTS = ("chat", "raw")
TOOLS_IN = ("template", "text")
BOXES = ("last", "first", "marked")


@dataclass
class HubConfig:
    """A hub data set that `datasets` downloads if the files are not available locally."""

    path: str = ""
    name: str | None = None
    split: str = "test"


@dataclass
class BenchmarkConfig:
    """One benchmark. `kind` selects the row format and the grader; `files` are below `data_dir`.

    Each question gets `samples` responses, sampled at `temperature` and `top_p` and limited to
    `max_tokens`. A response ends at the model's own end-of-text tokens and at those `stop_tokens`
    that are in its vocabulary. `pass_at` lists the k of pass@k. `plus` adds evalplus's inputs.
    `wording` is the prompt template, with a `{problem}` placeholder; for tools, `wording_in_text`
    adds `{functions}` for models whose chat template does not support tools, and with
    `tools_in=text` for all models. `system` is a text for the system turn (null: none); it follows
    the model's own `system` text and precedes that of the question. `box` selects the box that is
    graded, the `last` or the `first` (math, words and lab), or `marked` (math): the last, and
    without any what follows `####`, as in GSM8K's own solutions. With `prompt=raw` (code) the model
    continues the benchmark's code, without wording, turns and chat template. A response is cut
    before the first of the `stop_texts`. `problems` applies to the lab and to words,
    `chain_length` and `modulus` to the lab only, `words` to words only.
    """

    kind: str = "lab"
    files: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    hub: HubConfig = field(default_factory=HubConfig)
    source: str = ""
    family: str = ""
    plus: bool = False
    wording: str = "{problem}"
    wording_in_text: str = ""
    system: str | None = None
    tools_in: str = one_of(TOOLS_IN)
    prompt: str = one_of(PROMPTS)
    stop_texts: list[str] = field(default_factory=list)
    box: str = one_of(BOXES)
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop_tokens: list[str] = field(default_factory=list)
    pass_at: list[int] = field(default_factory=list)
    problems: int = 128
    chain_length: int = 12
    modulus: int = 7
    words: WordsConfig = field(default_factory=WordsConfig)

    def __post_init__(self) -> None:
        need_choice("benchmark.kind", self.kind, KINDS)
        for key in ("samples", "max_tokens", "problems"):
            need(getattr(self, key) > 0, f"benchmark.*.{key}", getattr(self, key), "give 1 or more")
        check_temperature("benchmark.*.temperature", self.temperature)
        need(0 < self.top_p <= 1, "benchmark.*.top_p", self.top_p, "give a number in (0, 1]")
        need("{problem}" in self.wording, "wording", self.wording, "it must hold {problem}")
        check_tools_in("benchmark.*", self.tools_in, self.wording_in_text)
        self._check_prompt()
        need_choices(self, "benchmark.*.")
        boxed = self.box == "last" or self.kind in BOXED
        need(boxed, "benchmark.*.box", self.box, f"kind={self.kind} has no boxes; leave it out")
        marked = self.box == "marked" and self.kind != "math"
        need(not marked, "benchmark.*.box", self.box, "only kind=math has answers after ####")
        for k in self.pass_at:
            need(
                0 < k <= self.samples, "benchmark.*.pass_at", k,
                f"pass@k needs k responses a question, and samples={self.samples}",
            )  # fmt: skip
        length = self.chain_length
        need(0 < length <= 26, "benchmark.*.chain_length", length, "give 1 to 26 operations")
        need(2 < self.modulus <= 50, "benchmark.*.modulus", self.modulus, "give 3 to 50")
        self.words.check("benchmark.*.words")

    def _check_prompt(self) -> None:
        chat = self.prompt == "chat"
        need(
            chat or self.kind == "code", "benchmark.*.prompt", self.prompt,
            f"kind={self.kind} has no code to continue; give chat",
        )  # fmt: skip
        need(
            chat or self.system is None, "benchmark.*.system", str(self.system),
            "prompt=raw has no turns; give null",
        )  # fmt: skip
        need(
            all(self.stop_texts), "benchmark.*.stop_texts", self.stop_texts,
            "an empty text cuts every response to nothing; drop it",
        )  # fmt: skip
        need(
            not any("\\n" in text for text in self.stop_texts), "benchmark.*.stop_texts",
            self.stop_texts, "it holds a backslash and an n; in a shell write $'…\\n…'",
        )  # fmt: skip


def check_tools_in(prefix: str, value: str, wording_in_text: str) -> None:
    """Raises `ConfigError` unless functions can stand where `tools_in` puts them."""
    need_choice(f"{prefix}.tools_in", value, TOOLS_IN)
    need(
        value == "template" or bool(wording_in_text), f"{prefix}.tools_in", value,
        "needs a wording_in_text with {functions} and {problem}",
    )  # fmt: skip
