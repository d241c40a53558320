"""Settings of the student and teacher models."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from esr_cli.config.errors import need, need_choice, need_choices, one_of

ALIGNMENTS = ("auto", "ids", "tokens", "text")
READS = ("own", "student")
# Of a further teacher; the figures of `pair.teacher` are named `others`.
NAME = re.compile(r"[A-Za-z0-9_-]+").fullmatch
NAMED = "a name is of letters, digits, - and _, and not others; name the rows so"
NAME_MODEL = "name a model folder or hub id"


@dataclass
class ModelConfig:
    """A model: `path` is a folder, a hub id, or `esr:NAME` for a model bundled with the package.

    `system` is the system prompt (null: the chat template's default; `""`: an empty one),
    `thinking` the template's thinking switch, `chat_template` a jinja file that replaces the
    tokenizer's. With `split_special_tokens` a special token that is spelt in a question (or in
    the system prompt or the wording) is text, not that token. `before_response` is a text, such
    as an empty think block, that stands between prompt and response when the response is scored
    and trained on, but not when it is sampled. `shape` is the transformers configuration, with
    `model_type`, that `pair.weights=random` builds. The tokenizer is that of `path`, or of a
    `family` whose merge ranks are below data_dir (qwen2.5, qwen3). `made_by` is the command that
    makes the folder, shown where it is missing.
    """

    path: str = ""
    revision: str | None = None
    system: str | None = None
    thinking: bool = False
    chat_template: str | None = None
    split_special_tokens: bool = True
    before_response: str = ""
    trust_remote_code: bool = False
    family: str | None = None
    made_by: str = ""
    shape: dict[str, Any] = field(default_factory=dict)


@dataclass
class TeacherConfig(ModelConfig):
    """The teacher: `reads` is the prompt before the responses that it scores.

    `own` is made by its own chat template; `student` is the ids of the student's prompt. In its
    `system` text, `{reference}` stands for the question's reference answer.
    """

    reads: str = one_of(READS)


@dataclass
class PairConfig:
    """Student and teacher; `context_tokens` limits the total length of prompt and response.

    `rollout_len=full` means `max_response_tokens`. `alignment` sets how the vocabularies are
    matched: by equal `ids`, by `tokens` with the same spelling, or by the `text` alone; `auto`
    selects one of the first two. `merge_eos` compares all end-of-text tokens as one token.
    `stop_tokens` lists further end-of-text tokens, in addition to those that the models define.
    Responses stop at `both` models' end-of-text tokens, or only at the `student` tokenizer's own
    (`stop`). With `train_ends=false` the end-of-text tokens at the end of a response are neither
    scored nor trained. `vocabulary` sets what the softmaxes run over: the `shared` tokens, or
    `all` rows that both output heads have. The run warns if either model puts more than
    `outside_warn` of its probability outside the shared vocabulary. `weights=random` builds both
    models from their `shape`, for a dry run without a download. `population` is a name that runs
    of several students share: in reports they are one condition, and its intervals are over
    students. With `teacher.by` the responses to some rows are scored by further `teachers`, each
    named as the rows name it; `teacher` scores those of all other rows. With `adapt` a new run
    lowers a context beyond that of the models, and leaves out the benchmark of its recipe if that
    has no data, with a note on each.
    """

    name: str = ""
    student: ModelConfig = field(default_factory=ModelConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    dtype: str = one_of(("auto", "float32", "bfloat16"))
    context_tokens: int = 4096
    max_response_tokens: int = 1024
    alignment: str = one_of(ALIGNMENTS)
    merge_eos: bool = True
    stop_tokens: list[str] = field(default_factory=list)
    stop: str = one_of(("both", "student"))
    train_ends: bool = True
    vocabulary: str = one_of(("shared", "all"))
    outside_warn: float = 0.02
    weights: str = one_of(("pretrained", "random"))
    population: str = ""
    adapt: bool = False

    def __post_init__(self) -> None:
        system = self.student.system
        need(
            "{reference}" not in (system or ""), "pair.student.system", system,
            "only pair.teacher.system may hold {reference}",
        )  # fmt: skip
        for name, each in self.all_teachers.items():
            key, told = teacher_key(name), "{reference}" in (each.system or "")
            need_choice(f"{key}.reads", each.reads, READS)
            need(
                not told or each.reads == "own", f"{key}.reads", each.reads,
                f"{{reference}} in {key}.system needs own",
            )  # fmt: skip
        for name, each in self.teachers.items():
            good = bool(NAME(name)) and name != "others"
            need(good, "pair.teachers", name, NAMED)
            # A saved run may be a stranger's, and names the code that it would run.
            need(
                not each.trust_remote_code, f"{teacher_key(name)}.trust_remote_code", True,
                "only pair.teacher may run code of its own; give it there, or behind a server",
            )  # fmt: skip
            need(bool(each.path), f"{teacher_key(name)}.path", each.path, NAME_MODEL)
        needless = self.weights == "random" and bool(self.teachers)
        need(
            not needless, "pair.weights", self.weights,
            "several teachers need weights; leave out pair.teachers",
        )  # fmt: skip
        need_choices(self, "pair.")
        share = self.outside_warn
        need(0 <= share <= 1, "pair.outside_warn", share, "give a share in [0, 1]")
        context, response = self.context_tokens, self.max_response_tokens
        need(context > 1, "pair.context_tokens", context, "give 2 or more")
        need(
            0 < response < self.context_tokens,
            "pair.max_response_tokens",
            response,
            f"give a positive number below pair.context_tokens={self.context_tokens}",
        )

    @property
    def all_teachers(self) -> dict[str, TeacherConfig]:
        """All teachers by name; the name of `teacher` is empty."""
        return {"": self.teacher, **self.teachers}


def teacher_key(name: str) -> str:
    """The setting that holds a teacher of that name."""
    return f"pair.teachers.{name}" if name else "pair.teacher"
