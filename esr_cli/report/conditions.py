"""Conditions: runs with the same settings but the seed, or the student of one population."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from esr_cli.base.files import hash_of
from esr_cli.runs.record import Run
from esr_cli.runs.settings import IGNORED, ROLES, flat, in_words, of_condition, under, unit_of

# Settings that the first words of a label already state.
IN_LABEL = (*ROLES, "loss.divergence", "loss.weights")
SELECTORS = ("top", "random", "window", "confident", "last", "middle")
# The selectors that keep `loss.keep_tokens` positions.
COUNTED = ("top", "random", "last", "middle")
# The order of the factors in the name of a product.
WORDS = {
    "reverse_kl": "KL", "forward_kl": "forward KL", "teacher_entropy": "teacher entropy",
    "student_entropy": "student entropy",
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """Runs with the same settings, sorted by student and seed. Numbers come from `units`.

    `kind` is esr, full, selector, mixture, growing or other. `tokens` is N, with `full` resolved.
    `by` names what a selector ranks positions by, and `keep` is the number of positions it keeps.
    """

    label: str
    kind: str
    tokens: int
    by: str
    keep: int | None
    runs: tuple[Run, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with the seed and the folder of the first run."""
        return of_condition(self.runs[0].config)

    @property
    def pair(self) -> str:
        """The pair's name."""
        return str(self.config["pair"]["name"])

    @property
    def tune(self) -> str:
        """lora or full."""
        return str(self.config["tune"]["method"])

    @property
    def task(self) -> str:
        """The training task's name."""
        return str(self.config["task"]["name"])

    @property
    def timed(self) -> bool:
        """Whether its runs only measure time: they evaluate one question and give no accuracy."""
        return self.config["limit"] == 1

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by their dotted names."""
        return flat(self.config)

    @cached_property
    def family(self) -> str:
        """A hash that is equal for conditions that differ only in N."""
        kept = {key: value for key, value in self.settings.items()
                if not under(key, (*IGNORED, "rollout.max_tokens"))}  # fmt: skip
        return hash_of(kept)

    @property
    def machines(self) -> set[tuple[str, str]]:
        """The known GPUs and machines on which its complete runs were started."""
        starts = [row for run in self.done for row in run.starts]
        return {(str(row.get("gpu", "")), str(row["machine"])) for row in starts
                if row.get("machine")}  # fmt: skip

    @cached_property
    def units(self) -> dict[int | str, tuple[Run, ...]]:
        """The complete runs by what they are a sample of: one per seed, or those of each student.

        If a student has several runs of a seed, the first by path counts.
        """
        found: dict[int | str, dict[int, Run]] = defaultdict(dict)
        for run in self.runs:
            if run.state == "complete":
                found[unit_of(run.config)].setdefault(run.seed, run)
        return {unit: tuple(by_seed.values()) for unit, by_seed in found.items()}

    @property
    def unit(self) -> str:
        """What the keys of `units` are, in a word."""
        return "student" if self.config["pair"].get("population") else "seed"

    @property
    def first(self) -> tuple[Run, ...]:
        """The runs of the first of `units`."""
        return next(iter(self.units.values()), ())

    def name_of(self, run: Run) -> str:
        """What distinguishes a run from the others."""
        if self.unit == "seed":
            return f"seed {run.seed}"
        return f"{Path(str(unit_of(run.config))).name} of {len(self.units)}, seed {run.seed}"

    @property
    def done(self) -> list[Run]:
        """The runs of all `units`."""
        return [run for runs in self.units.values() for run in runs]


def scale_of(pair: str) -> str:
    """`lab` or `real` for the pair of that name and for names that begin with it and `_`.

    It is `paper` for all others.
    """
    first = pair.partition("_")[0]
    return first if first in ("lab", "real") else "paper"


def gather(runs: Sequence[Run]) -> list[Condition]:
    """Groups runs into conditions: full rollouts first, then ESR by N, then the others."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        kept = {key: value for key, value in of_condition(run.config).items() if key not in IGNORED}
        groups[hash_of(kept)].append(run)
    conditions = [
        _condition(
            sorted(group, key=lambda run: (str(run.config["pair"]["student"]["path"]), run.seed))
        )
        for group in groups.values()
    ]
    order = ("full", "esr", "mixture", "growing", "other", "selector")
    conditions.sort(key=lambda each: (each.pair, each.task, each.timed, order.index(each.kind),
                                      each.tune, each.tokens, each.label))  # fmt: skip
    return _with_unique_labels(conditions)


def _condition(runs: list[Run]) -> Condition:
    config = runs[0].config
    longest = int(config["pair"]["max_response_tokens"])
    length = str(config["rollout"]["max_tokens"])
    # A word is `full`, or `auto` in a run that stopped before it had chosen its N.
    tokens = int(length) if length.isdecimal() else longest
    loss = config["loss"]
    select = loss["select"]
    keep = int(loss["keep_tokens"]) if select in COUNTED else None
    if select == "window" and loss["window_end"] is not None:
        keep = loss["window_end"] - loss["window_start"]
    ranked = [name for name in WORDS if name in loss["by"]]
    by = "+".join(ranked) if select == "top" else select if select in SELECTORS else ""
    kind = _kind(config, tokens, longest)
    label = _label(config, kind, tokens)
    if kind == "selector" and tokens < longest:
        label += f", N={tokens}"
    return Condition(label, kind, tokens, by, keep, tuple(runs))


def _kind(config: dict[str, Any], tokens: int, longest: int) -> str:
    loss, lengths = config["loss"], config["lengths"]
    if loss["divergence"] != "reverse_kl" or loss["weights"] != "uniform":
        return "other"
    if loss["select"] in SELECTORS:
        return "selector"
    if lengths["schedule"] != "constant":
        return "growing" if lengths["schedule"] == "linear" else "other"
    if lengths["full_share"] > 0:
        return "mixture"
    return "full" if tokens >= longest else "esr"


def _label(config: dict[str, Any], kind: str, tokens: int) -> str:
    loss, lengths = config["loss"], config["lengths"]
    if kind == "esr":
        return f"ESR N={tokens}"
    if kind == "full":
        return "full rollouts"
    if kind == "mixture":
        whole = " step" if lengths.get("full_in") == "steps" else ""
        return f"mixture N={tokens}, 1{whole} in {1 / lengths['full_share']:.0f} full"
    words = []
    if loss["select"] in SELECTORS:
        words.append(_selector(loss))
    if lengths["schedule"] == "linear":
        words.append(f"growing {lengths['start']} to {tokens}")
    elif lengths["schedule"] == "steps":
        words.append("in steps " + ", ".join(str(n) for _, n in lengths["stages"]))
    elif lengths["schedule"] == "share":
        words.append(f"N={lengths['share']:.0%} of the longest")
    elif lengths["schedule"] == "random":
        words.append(f"N at random, {tokens} on average")
    elif kind == "other":
        words.append(f"N={tokens}")
    for key, usual in (("divergence", "reverse_kl"), ("weights", "uniform")):
        if loss[key] != usual:
            words.append(str(loss[key]).replace("_", " "))
    return ", ".join(words)


def _selector(loss: dict[str, Any]) -> str:
    if loss["select"] == "top":
        return f"top {loss['keep_tokens']} {ranks([name for name in WORDS if name in loss['by']])}"
    if loss["select"] == "random":
        return f"{loss['keep_tokens']} at random"
    if loss["select"] in ("last", "middle"):
        return f"the {loss['select']} {loss['keep_tokens']}"
    if loss["select"] == "window":
        end = loss["window_end"]
        return f"window {loss['window_start']} to {'the end' if end is None else end}"
    return f"while the teacher is {loss['confidence']:g} sure"


def ranks(by: Sequence[str]) -> str:
    """In words, the quantities by which a selector ranks positions."""
    words = [WORDS[name] for name in by]
    return "reverse KL" if words == ["KL"] else " × ".join(words)


def _with_unique_labels(conditions: list[Condition]) -> list[Condition]:
    """Appends to each label the settings that distinguish it from others of its pair and task."""
    labelled: list[Condition] = []
    for condition in conditions:
        label = _full_label(condition, conditions)
        used = [each.label for each in labelled if _same_task(each, condition)]
        count = sum(each == label or each.startswith(f"{label} (") for each in used)
        unique = f"{label} ({count + 1})" if label in used else label
        labelled.append(replace(condition, label=unique))
    return labelled


def _same_task(a: Condition, b: Condition) -> bool:
    return (a.pair, a.task) == (b.pair, b.task)


def _full_label(condition: Condition, conditions: list[Condition]) -> str:
    peers = [each for each in conditions if _same_task(each, condition)]
    several = len({each.tune for each in peers}) > 1
    named = f"{condition.label}, LoRA" if several and condition.tune == "lora" else condition.label
    near = [each for each in peers if (each.timed, each.tune) == (condition.timed, condition.tune)]
    return ", ".join(
        [named, *_differences(condition, near), *(["timed"] if condition.timed else [])]
    )


def _differences(condition: Condition, near: list[Condition]) -> list[str]:
    """Settings in which a condition differs from others, without those that most of them share."""
    namesakes = [each for each in near if each.label == condition.label]
    benchmarks = [each.config["benchmark"] for each in near]
    shared = [name for name in benchmarks[0] if all(name in each for each in benchmarks)]

    def compared(key: str) -> bool:
        first, _, rest = key.partition(".")
        if first == "benchmark" and rest.split(".")[0] not in shared:
            return False
        return not under(key, IGNORED)

    def usual(key: str) -> bool:
        count = Counter(str(each.settings.get(key)) for each in near)
        mine = count.pop(str(condition.settings[key]))
        return mine > max(count.values(), default=0)

    def differs(key: str) -> bool:
        # The label already states these settings, so they only distinguish namesakes.
        others = namesakes if under(key, IN_LABEL) else near
        return any(each.settings.get(key) != condition.settings[key] for each in others)

    keys = [key for key in condition.settings if compared(key) and differs(key) and not usual(key)]
    words = [in_words(key.split(".")[-1], condition.settings[key]) for key in keys]
    if any(set(each) != set(benchmarks[0]) for each in benchmarks):
        words.append(f"evaluated on {'+'.join(condition.config['benchmark'])}")
    return words
