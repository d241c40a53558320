"""Arms: runs with the same settings but for the seed, what kind they are, and a short name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from esr_cli.base.files import hash_of
from esr_cli.report.settings import LEFT_OUT, ROLES, flat, under
from esr_cli.runs.record import Run

# What the first words of a label tell.
TOLD = (*ROLES, "loss.divergence", "loss.weights")
SELECTORS = ("top", "random", "window", "confident")
# In the order in which a product of them is named.
WORDS = {
    "reverse_kl": "KL", "teacher_entropy": "teacher entropy", "student_entropy": "student entropy",
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """`runs` are all of it, by seed; numbers come from `done`, one complete run a seed.

    `kind` is esr, full, selector, mixture, growing or other; `tokens` is N with `full` resolved;
    `by` names what a selector keeps, and `keep` how many.
    """

    label: str
    kind: str
    tokens: int
    by: str
    keep: int | None
    runs: tuple[Run, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with the first run's seed and folder."""
        return self.runs[0].config

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
        """Whether it is there for its clock: asked one question only, it tells no accuracy."""
        return self.config["limit"] == 1

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by their dotted names."""
        return flat(self.config)

    @cached_property
    def family(self) -> str:
        """Equal for arms that are alike in all but N."""
        kept = {key: value for key, value in self.settings.items()
                if not under(key, (*LEFT_OUT, "rollout.max_tokens"))}  # fmt: skip
        return hash_of(kept)

    @property
    def places(self) -> set[tuple[str, str]]:
        """GPU and machine of every start of its runs that is known."""
        starts = [row for run in self.done.values() for row in run.starts]
        return {(str(row.get("gpu", "")), str(row["machine"])) for row in starts
                if row.get("machine")}  # fmt: skip

    @property
    def done(self) -> dict[int, Run]:
        """A complete run of each seed; of several the first by path."""
        first: dict[int, Run] = {}
        for run in self.runs:
            if run.state == "complete":
                first.setdefault(run.seed, run)
        return first


def scale_of(pair: str) -> str:
    """lab, for the lab's pair and others made by `esr lab` and named after it, or paper."""
    return "lab" if pair == "lab" or pair.startswith("lab_") else "paper"


def gather(runs: Sequence[Run]) -> list[Arm]:
    """The arms, full rollouts first, then ESR by N, then the others."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        kept = {key: value for key, value in run.config.items() if key not in LEFT_OUT}
        groups[hash_of(kept)].append(run)
    arms = [_arm(sorted(group, key=lambda run: run.seed)) for group in groups.values()]
    order = ("full", "esr", "mixture", "growing", "other", "selector")
    arms.sort(key=lambda arm: (arm.pair, arm.task, arm.timed, order.index(arm.kind), arm.tune,
                               arm.tokens, arm.label))  # fmt: skip
    return _told_apart(arms)


def _arm(runs: list[Run]) -> Arm:
    config = runs[0].config
    longest = int(config["pair"]["max_response_tokens"])
    length = str(config["rollout"]["max_tokens"])
    # Words are `full`, and what a run was stopped at before it had found its N.
    tokens = int(length) if length.isdecimal() else longest
    loss = config["loss"]
    select = loss["select"]
    keep = int(loss["keep_tokens"]) if select in ("top", "random") else None
    if select == "window" and loss["window_end"] is not None:
        keep = loss["window_end"] - loss["window_start"]
    ranked = [name for name in WORDS if name in loss["by"]]
    by = "+".join(ranked) if select == "top" else select if select in SELECTORS else ""
    kind = _kind(config, tokens, longest)
    label = _label(config, kind, tokens)
    if kind == "selector" and tokens < longest:
        label += f", N={tokens}"
    return Arm(label, kind, tokens, by, keep, tuple(runs))


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
        return f"mixture N={tokens}, 1 in {1 / lengths['full_share']:.0f} full"
    words = []
    if loss["select"] in SELECTORS:
        words.append(_selector(loss))
    if lengths["schedule"] == "linear":
        words.append(f"growing {lengths['start']} to {tokens}")
    elif lengths["schedule"] == "steps":
        words.append("in steps " + ", ".join(str(n) for _, n in lengths["stages"]))
    elif lengths["schedule"] == "share":
        words.append(f"N={lengths['share']:.0%} of the longest")
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
    if loss["select"] == "window":
        end = loss["window_end"]
        return f"window {loss['window_start']} to {'the end' if end is None else end}"
    return f"while the teacher is {loss['confidence']:g} sure"


def ranks(by: Sequence[str]) -> str:
    """What a selector ranks positions by, in words."""
    words = [WORDS[name] for name in by]
    return " × ".join(words) if len(words) > 1 else words[0].replace("KL", "reverse KL")


def _told_apart(arms: list[Arm]) -> list[Arm]:
    """Arms of one task get what differs between them added to their names."""
    found: list[Arm] = []
    for arm in arms:
        label = _whole_label(arm, arms)
        place = [each.label for each in found if (each.pair, each.task) == (arm.pair, arm.task)]
        count = sum(each == label or each.startswith(f"{label} (") for each in place)
        found.append(replace(arm, label=f"{label} ({count + 1})" if label in place else label))
    return found


def _whole_label(arm: Arm, arms: list[Arm]) -> str:
    place = [each for each in arms if (each.pair, each.task) == (arm.pair, arm.task)]
    several = len({each.tune for each in place}) > 1
    named = f"{arm.label}, LoRA" if several and arm.tune == "lora" else arm.label
    near = [each for each in place if (each.timed, each.tune) == (arm.timed, arm.tune)]
    return ", ".join([named, *_differences(arm, near), *(["timed"] if arm.timed else [])])


def _differences(arm: Arm, near: list[Arm]) -> list[str]:
    """What tells an arm from others, but for what most arms have."""
    like = [each for each in near if each.label == arm.label]
    asked = [each.config["benchmark"] for each in near]
    shared = [name for name in asked[0] if all(name in each for each in asked)]

    def compared(key: str) -> bool:
        first, _, rest = key.partition(".")
        if first == "benchmark" and rest.split(".")[0] not in shared:
            return False
        return not under(key, LEFT_OUT)

    def usual(key: str) -> bool:
        count = Counter(str(each.settings.get(key)) for each in near)
        mine = count.pop(str(arm.settings[key]))
        return mine > max(count.values(), default=0)

    def differs(key: str) -> bool:
        # Which of the words above may differ is told already, but for namesakes.
        others = like if under(key, TOLD) else near
        return any(each.settings.get(key) != arm.settings[key] for each in others)

    keys = [key for key in arm.settings if compared(key) and differs(key) and not usual(key)]
    words = [f"{key.split('.')[-1].replace('_', ' ')} {_short(arm.settings[key])}" for key in keys]
    if any(set(each) != set(asked[0]) for each in asked):
        words.append(f"asked {'+'.join(arm.config['benchmark'])}")
    return words


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:40]}…"
