"""What people type: what esr reads in another form than Hydra, and a line for what it cannot read.

The line has the command as it should be, ready to copy.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from esr_cli.base.files import options
from esr_cli.cli import known
from esr_cli.config.errors import ConfigError

# The names that settings have elsewhere: in TRL, transformers, vLLM, lm-evaluation-harness.
ELSEWHERE = {
    "lr": "tune.learning_rate", "beta1": "tune.beta1", "beta2": "tune.beta2",
    "adam_beta1": "tune.beta1", "adam_beta2": "tune.beta2",
    "max_grad_norm": "tune.clip_norm", "lr_scheduler_type": "tune.schedule",
    "warmup_ratio": "tune.warmup_share", "lora_r": "tune.rank", "lora_rank": "tune.rank",
    "lora_alpha": "tune.alpha", "lora_dropout": "tune.dropout",
    "target_modules": "tune.targets",
    "max_steps": "steps", "num_steps": "steps", "batch_size": "prompts_per_step",
    "per_device_train_batch_size": "prompts_per_step", "num_generations": "rollouts_per_prompt",
    "n": "rollout_len", "N": "rollout_len", "rollout_length": "rollout_len",
    "max_new_tokens": "rollout_len", "max_completion_length": "rollout_len",
    "response_length": "rollout_len", "max_length": "pair.context_tokens",
    "max_model_len": "pair.context_tokens", "tokens": "rollout_len",
    "student": "pair.student.path", "teacher_model": "pair.teacher.path",
    "student_model": "pair.student.path", "model_name_or_path": "pair.student.path",
    "teacher_model_name_or_path": "pair.teacher.path",
    "chat_template": "pair.student.chat_template",
    "eval_steps": "eval_every", "save_steps": "save_every", "save_total_limit": "keep_checkpoints",
    "output_dir": "run_dir", "output_path": "run_dir", "resume_from_checkpoint": "resume",
    "report_to": "tracking", "wandb": "tracking", "project": "tracking.project",
    "torch_dtype": "pair.dtype", "dtype": "pair.dtype", "bf16": "pair.dtype",
    "dataset": "task", "dataset_name": "task", "tasks": "benchmark", "task": "benchmark",
    "engine": "rollout", "backend": "rollout", "top_k": "rollout.top_k",
    "tensor_parallel_size": "rollout.tensor_parallel", "limit_eval": "limit", "path": "model",
    "config_file": "config", "yaml": "config", "c": "config",
    "pretrained": "model", "model": "pair.student.path", "num_samples": "prompts",
}  # fmt: skip
# Settings of esr train that a command takes with the others and does not use, and what to give.
OF_RUNS = ("eval_every", "save_every", "keep_checkpoints", "strict", "dry_run", "alarms", "watch")
OF_BENCHMARKS = ("benchmark", "limit", "sandbox")
UNUSED: dict[str, dict[str, str]] = {
    "bench": {
        **dict.fromkeys((*OF_RUNS, "limit", "sandbox"), ""),
        "steps": "repeats= is the number of timed steps", "rollout_len": "lengths=[16,full]",
        "tune.learning_rate": "it is next to 0, so that the weights stay as they are",
        "tune.weight_decay": "it is 0, so that the weights stay as they are",
    },
    "probe": {
        **dict.fromkeys((*OF_RUNS, "tune", "lengths", "steps", "rollout_len", "tracking"), ""),
        "prompts_per_step": "prompts= is the number of prompts",
        "rollouts_per_prompt": "samples= is the number of responses to each",
    },
    "teacher": dict.fromkeys(
        (*OF_RUNS, *OF_BENCHMARKS, "steps", "rollout_len", "tune", "loss", "lengths", "rollout",
         "tracking", "task", "seed", "prompts_per_step", "rollouts_per_prompt", "execution"), "",
    ),
}  # fmt: skip
# What a command is mostly given, and so may be given without its key.
FOLDERS = {
    "compare": ("a", "b"), "eval": ("run",), "probe": ("run",), "push": ("run",),
    "report": ("runs",),
}  # fmt: skip
# Groups of which several options are chosen as a list.
LISTS = (*known.NAMED, "tracking")
SWEEP_FLAGS = ("-m", "--multirun")
# What Hydra's `-c`, short for `--cfg`, can print.
SHOWN_BY_HYDRA = ("job", "hydra", "all")
# How alike a flag and a setting must be: Hydra's own `--config-dir` is not `config`.
CLOSE = 0.8
WHOLE = re.compile(r"[+-]?\d+(\.0*)?([eE]\+?\d+)?$|[+-]?\d+(_\d+)+$")


def check(command: str, schema: str, arguments: Sequence[str]) -> None:
    """Raises `ConfigError` for arguments that Hydra would misread, with the command to type.

    What is left to Hydra and the gate has messages of its own.
    """
    _Typed(command, schema, arguments).check()


def name_of(command: str, schema: str, key: str) -> str:
    """esr's name for a setting that has the name `key` elsewhere, or in its group; else empty."""
    return _Typed(command, schema, []).name(key)


def unused(command: str, arguments: Sequence[str]) -> list[str]:
    """A line for each setting among the arguments that the command does not use."""
    known_unused = UNUSED.get(command, {})
    if command == "probe" and any(each.startswith("run=") for each in arguments):
        return []  # refused there: a run brings its own
    lines = []
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        above = next((name for name in (key, key.partition(".")[0]) if name in known_unused), None)
        if above is not None:
            instead = f"; {known_unused[above]}" if known_unused[above] else ""
            lines.append(f"note: {argument}: esr {command} does not use it{instead}")
    return lines


class _Typed:
    """The arguments of a command as they were typed."""

    def __init__(self, command: str, schema: str, arguments: Sequence[str]) -> None:
        self.command, self.schema, self.arguments = command, schema, list(arguments)
        self.names = set(known.names("train" if command == "init" else command, schema))
        self.names |= {*known.taken(command)}
        # A group of settings, too, such as `tune`.
        self.names |= {name.partition(".")[0] for name in self.names}
        self.sweeps = any(each in SWEEP_FLAGS for each in arguments) or any(
            re.match(r"\+*(sweep|cluster)=", each) for each in arguments
        )

    def check(self) -> None:
        """Looks at the arguments one by one, the first mistake first."""
        self._check_folders()
        for index, argument in enumerate(self.arguments):
            key, sign, value = argument.lstrip("-+~").partition("=")
            key = key.replace("-", "_") if argument.startswith("--") else key
            name = self.name(key)
            if not sign:
                self._check_apart(index, argument, key, name)
            elif argument.startswith("-") and not argument.startswith("--help="):
                if name := name or "".join(difflib.get_close_matches(key, self.names, 1, CLOSE)):
                    self._refuse(argument, "settings have no dashes", {index: f"{name}={value}"})
            elif name != key and name:
                self._refuse(argument, f"esr's name for it is {name}", {index: f"{name}={value}"})
            elif name and name not in known.taken(self.command):
                self._check_value(index, argument, key, value)
            elif len(ends := self._ends(key)) > 1:
                raise ConfigError(f"{argument}: which one? there are {', '.join(ends)}")

    def _check_folders(self) -> None:
        """Folders without a key, as in `esr compare runs/a runs/b`."""
        keys = FOLDERS.get(self.command, ())
        given = {at: x for at, x in enumerate(self.arguments) if "=" not in x and os.path.isdir(x)}
        if len(given) > len(keys) and self.command == "compare":
            fixed = dict.fromkeys(given, "") | {min(given): f"runs=[{','.join(given.values())}]"}
        elif given and len(given) == len(keys):
            fixed = {
                at: f"{key}={each}" for key, (at, each) in zip(keys, given.items(), strict=True)
            }
        else:
            return
        if all("=" in each for at, each in enumerate(self.arguments) if at not in given):
            self._refuse(" ".join(given.values()), "a folder has a key", fixed)

    def _check_apart(self, index: int, argument: str, key: str, name: str) -> None:
        """A key whose value is the next argument, or no argument at all."""
        after = self.arguments[index + 1 :][:1]
        if after and after[0].startswith("=") and name:
            value = after[0][1:] or "".join(self.arguments[index + 2 :][:1])
            fixed = {index: f"{name}={value}", index + 1: ""}
            fixed |= {} if after[0][1:] else {index + 2: ""}
            self._refuse(f"{argument} {after[0]}", "no spaces around the =", fixed)
        if not name or argument in SWEEP_FLAGS or not after or argument.startswith("~"):
            return
        if argument == "-c" and after[0] in SHOWN_BY_HYDRA:
            return
        if "=" in after[0] and self.name(after[0].lstrip("+~").partition("=")[0]):
            return
        if after[0].startswith("-") and not re.match(r"-\d", after[0]):
            return
        fixed = {index: f"{name}={after[0]}", index + 1: ""}
        self._refuse(f"{argument} {after[0]}", "key and value are one word, key=value", fixed)

    def _check_value(self, index: int, argument: str, key: str, value: str) -> None:
        kind, left = known.kind(self.schema, key), argument.partition("=")[0]
        if not value:
            self._check_empty(index, left, key, kind)
        several = not self.sweeps and _several(value)
        listed = key in LISTS or (self.command == "bench" and key == "lengths")
        if several and (_is_list(kind) or listed):
            self._refuse(argument, "a list has brackets", {index: f"{left}=[{value}]"})
        options_of = () if listed or self.command == "init" else options(key)
        if value.startswith("[") and "," in value and options_of:
            chosen = f"{'' if self.sweeps else '-m '}{left}={value.strip('[]')}"
            self._refuse(argument, "takes one option; several are a sweep", {index: chosen})
        kinds = get_args(kind) or (kind,)
        if several and str not in kinds and self.command != "init":
            self._refuse(argument, "several values are a sweep", {index: f"-m {left}={value}"})
        if int in kinds and float not in kinds and str not in kinds and WHOLE.match(value):
            number = _whole(value)
            if number is not None and str(number) != value.lstrip("+").replace("_", ""):
                self._refuse(argument, "give a whole number", {index: f"{left}={number}"})

    def _check_empty(self, index: int, left: str, key: str, kind: Any) -> None:
        """A key without a value, as a variable of the shell leaves it that is not set."""
        after = self.arguments[index + 1 :][:1]
        if after and "=" not in after[0] and not after[0].startswith(("-", "~")):
            fixed = {index: f"{left}={after[0]}", index + 1: ""}
            self._refuse(f"{left}= {after[0]}", "no spaces around the =", fixed)
        if choices := options(key) or known.choices(self.schema, key):
            raise ConfigError(f"{left}=: is empty; there are {', '.join(choices)}")
        # Texts of a group, such as a system turn, may be empty.
        if "." not in key or str not in (get_args(kind) or (kind,)):
            null = " or null" if type(None) in get_args(kind) else ""
            raise ConfigError(f"{left}=: is empty; give a value{null}, or leave it out")

    def name(self, key: str) -> str:
        """esr's name for a key; empty if there is none, or more than one."""
        if key in self.names or not key:
            return key
        if key == "out" and "run_dir" in self.names:
            return key
        if ELSEWHERE.get(key) in self.names:
            return ELSEWHERE[key]
        ends = self._ends(key)
        return ends[0] if len(ends) == 1 else ""

    def _ends(self, key: str) -> list[str]:
        """The settings of groups whose name ends with this key."""
        if not re.fullmatch(r"\w+", key) or key in ELSEWHERE:
            return []
        return sorted(name for name in self.names if re.fullmatch(rf"\w+\.{key}", name))

    def _refuse(self, said: str, why: str, fixed: dict[int, str]) -> None:
        """Raises the `ConfigError` with the command in which arguments are `fixed`, by index."""
        texts = [fixed.get(index, each) for index, each in enumerate(self.arguments)]
        flag = ["-m"] if any(each.startswith("-m ") for each in texts) else []
        words = [each.removeprefix("-m ") for each in texts if each]
        verb = ["teacher", "serve"] if self.command == "teacher" else [self.command]
        raise ConfigError(f"{said}: {why}: {shlex.join(['esr', *verb, *flag, *words])}")


def _is_list(kind: Any) -> bool:
    return any(get_origin(each) is list or each is list for each in (kind, *get_args(kind)))


def _several(value: str) -> bool:
    """Whether a value has commas outside of brackets and quotes."""
    plain = re.sub(r"'[^']*'|\"[^\"]*\"", "", value)
    while (inner := re.sub(r"\[[^\[\]]*\]|\{[^{}]*\}|\([^()]*\)", "", plain)) != plain:
        plain = inner
    return "," in plain and not re.search(r"[\[\](){}]", plain)


def _whole(text: str) -> int | None:
    """The whole number that a text such as 1e2, 100.0 or 1_000 stands for."""
    number = float(text.replace("_", ""))
    return int(number) if number.is_integer() and abs(number) < 2**53 else None


def command_of(typed: str, commands: Sequence[str]) -> str:
    """The line for a command that there is not."""
    near = difflib.get_close_matches(typed, commands, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(commands)}"
    return f"{typed}: no such command; {hint}"
