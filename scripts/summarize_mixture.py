"""Table and tests of the mixtures of lengths, from the runs of `esr reproduce scale=mixture`.

    python scripts/summarize_mixture.py [runs/reproduce-mixture] [--record FILE] [--figure FILE]

One endpoint: accuracy after the last step. Students are the unit: a student's figure is the mean
of its seeds, intervals are for new students and new questions. Differences are paired by student;
`p` is that of a one-sided sign-flip test over students: a difference from ESR above 0, and one from
full rollouts above -1 point. The two differences of `mixture` were stated before the runs; those of
the controls explain them and are not corrected for their number. `lose` counts students that end
more than 6 points below where they began: about the 95 % noise of two shares of 512 questions. The
packaged student was chosen among those of seeds 2 to 5 by what ESR makes of them, so the file has
the tests without these, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from results import by_unit, conditions, markdown, summarize

from esr_cli.base.files import read_rows
from esr_cli.base.paired import correlation, sign_flip
from esr_cli.plots.style import COLOURS, figure
from esr_cli.report import numbers
from esr_cli.report.book import Book
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number

# The condition that others are compared with, by the beginning of the names of a lab's cells.
LABS = {"": "one strategy for a response", "slip_": "late decisions", "late_": "late errors"}
# The folders of the probes of a lab's pairs, in the folder of the reproduction.
FOLDERS = {"": "pair", "slip_": "slip", "late_": "late"}
MARGIN = -0.01
# The first positions of the profiles, as in the matrix.
FIRST = 32
# Points that a student must lose to be counted, and the students whose outcome was known before.
LOSS = 6.0
KNOWN = {f"student_{seed:02d}" for seed in (2, 3, 4, 5)}
# What a condition is compared with, and the null hypothesis of its test, if it has one.
COMPARED = {"esr": 0.0, "mixture": None, "full": MARGIN}
COLUMNS = (
    "students", "before, %", "last, %", "worst student, %", "lose", "minus ESR, points",
    "p above 0", "minus mixture, points", "minus full, points", "p above -1",
    "tokens sampled, thousands", "seconds in steps",
)  # fmt: skip


def lab_of(name: str) -> str:
    """The beginning of a cell's name that tells its lab."""
    return next(prefix for prefix in reversed(LABS) if name.startswith(prefix))


def summary(name: str, found: dict[str, Condition]) -> dict[str, Any]:
    """The figures of one condition; accuracies are shares, by student in the order of `units`."""
    condition, lab = found[name], lab_of(name)
    benchmark = condition.done[0].benchmark
    last, before = (
        in_percent(numbers.accuracy(condition, benchmark, moment)) for moment in ("last", "before")
    )
    lost = [before["each"][unit] - value > LOSS for unit, value in last["each"].items()]
    tokens = _of_runs(condition, "rollout/tokens")
    figures: dict[str, Any] = {
        "students": len(condition.units), "last": last, "before": before, "lose": sum(lost),
        "tokens": tokens, "thousand tokens": round(tokens / 1000),
        "seconds": _of_runs(condition, "time/step_s"),
    }  # fmt: skip
    for other, null in COMPARED.items():
        reference = found.get(lab + other)
        if reference and reference is not condition:
            gap = numbers.difference(condition, reference, benchmark, "last")
            if gap and gap.seeds:
                figures[f"minus {other}"] = compared(gap, null)
    return figures


def compared(gap: Number, null: float | None) -> dict[str, Any]:
    """A difference in points, with its tests over all students and over those not known before."""
    found = in_percent(gap)
    if null is None:
        return found
    named = zip((Path(str(unit)).name for unit in gap.units), gap.seeds, strict=True)
    others = [value for name, value in named if name not in KNOWN]
    found |= {"null": 100 * null, "p": _rounded(sign_flip(gap.seeds, null))}
    if others:
        others_p = _rounded(sign_flip(others, null))
        found["without 2 to 5"] = {"value": round(100 * fmean(others), 4), "p": others_p}
    return found


def _rounded(p: float) -> float:
    return float(f"{p:.3g}")


def front(out: Path, complete: dict[str, Condition]) -> dict[str, Any]:
    """How front-loaded the KL of each pair is before training, and ESR minus full rollouts.

    The first is the mean KL of the first 32 positions divided by that of the rest (esr probe), the
    second the accuracy after the last step at about equal tokens, in points. The correlations are
    within each lab, whose pairs differ in the student's seed alone: labs differ by design.
    """
    pairs = []
    for lab, folder in FOLDERS.items():
        esr, full = complete.get(f"{lab}esr"), complete.get(f"{lab}full_22_steps")
        gap = numbers.difference(esr, full, "lab", "last") if esr and full else None
        if not esr or not full or not gap:
            continue
        for unit, points in zip(gap.units, gap.seeds, strict=True):
            ratio = _front_loading(out / folder / Path(str(unit)).name)
            if ratio is not None:
                known = {"lab": LABS[lab], "student": Path(str(unit)).name}
                figures = {"front loading": round(ratio, 4), "gap": round(100 * points, 2)}
                pairs.append(known | figures)
    by_lab = {lab: [each for each in pairs if each["lab"] == lab] for lab in LABS.values()}
    return {"pairs": pairs, "correlation": {lab: _correlated(by_lab[lab]) for lab in by_lab}}


def _by_kind(seconds: dict[str, float]) -> dict[str, float]:
    """The seconds of each population, and of all other cells together, which ran two at a time."""
    taken: dict[str, float] = {}
    for cell, each in seconds.items():
        name = cell if cell.endswith("students") else "all others"
        taken[name] = round(taken.get(name, 0.0) + each, 1)
    return taken


def _front_loading(folder: Path) -> float | None:
    for path in sorted(folder.rglob("profile.jsonl")):
        for row in read_rows(path):
            about = (row["figure"], row.get("who"), row.get("first"))
            if about == ("front_loading", "before", FIRST):
                return row["value"]
    return None


def _correlated(pairs: list[dict[str, Any]]) -> list[float] | None:
    found = correlation([each["front loading"] for each in pairs], [each["gap"] for each in pairs])
    return [round(each, 3) for each in found] if found else None


def in_percent(found: Number | None) -> dict[str, Any]:
    """A share in percent, or a difference of shares in points."""
    return by_unit(found.scaled(100) if found else None, 4) or {}


def _of_runs(condition: Condition, column: str) -> float:
    """The median over runs of the sum of a column over the steps."""
    return round(float(median(sum(run.column(column)) for run in condition.done)), 1)


def tables(written: dict[str, Any]) -> list[str]:
    """Markdown: the conditions; every student; the correlations of front-loading and ESR's gain."""
    found = written["conditions"]
    return [_conditions(found), *_students(found), _front(written["front loading"])]


def _students(found: dict[str, dict[str, Any]]) -> list[str]:
    """A table for each lab: every student before, and after the conditions that were compared."""
    every = []
    for lab in LABS:
        names = [lab + name for name in ("esr", "full", "mixture") if lab + name in found]
        if names:
            columns = [found[names[0]]["before"], *(found[name]["last"] for name in names)]
            units = [unit for unit in columns[0]["each"] if all(unit in c["each"] for c in columns)]
            rows = ([unit, *(f"{c['each'][unit]:.1f}" for c in columns)] for unit in units)
            every.append(markdown(("student", "before, %", *names), rows))
    return every


def _front(found: dict[str, Any]) -> str:
    rows = []
    for lab, r in found["correlation"].items():
        pairs = [each for each in found["pairs"] if each["lab"] == lab]
        if pairs:
            spans = (
                f"{min(values):.2f} to {max(values):.2f}"
                for values in ([each[key] for each in pairs] for key in ("front loading", "gap"))
            )
            known = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*r) if r else "–"
            rows.append([lab, str(len(pairs)), *spans, known])
    return markdown(
        ("lab", "pairs", "front loading", "ESR minus 22 full steps, points", "correlation"), rows
    )


def _conditions(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, figures in found.items():
        cells = (
            _count(figures), f"{figures['before']['value']:.1f}",
            _interval(figures["last"], "{:.1f}"),
            f"{min(figures['last']['each'].values()):.1f}", str(figures["lose"]),
            *_gap(figures.get("minus esr")), _gap(figures.get("minus mixture"))[0],
            *_gap(figures.get("minus full")),
            f"{figures['thousand tokens']}", f"{figures['seconds']:.1f}",
        )  # fmt: skip
        rows.append([name, *cells])
    return markdown(("condition", *COLUMNS), rows)


def _count(figures: dict[str, Any]) -> str:
    """The number of students, and of those in its differences if these are fewer."""
    whole = figures["students"]
    gaps = [len(figures[key]["each"]) for key in ("minus esr", "minus full") if key in figures]
    return f"{whole} ({min(gaps)} compared)" if gaps and min(gaps) < whole else str(whole)


def _gap(figures: dict[str, Any] | None) -> tuple[str, str]:
    if not figures:
        return "–", "–"
    p = figures.get("p")
    told = "–" if p is None else "above 0.99" if p > 0.99 else f"{p:.2g}"
    return _interval(figures, "{:+.1f}"), told


def _interval(figures: dict[str, Any], form: str) -> str:
    value, low, high = (form.format(figures[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def draw(written: dict[str, Any], target: Path) -> None:
    """Draws every student of every condition, with the means and their intervals."""
    found = written["conditions"]
    names = list(found)[::-1]
    with figure(target.parent, target.stem, (6.4, 0.32 * len(names) + 0.8), kinds=("svg",)) as axes:
        for at, name in enumerate(names):
            last = found[name]["last"]
            colour = COLOURS[list(LABS).index(lab_of(name))]
            values = list(last["each"].values())
            axes.plot(values, [at] * len(values), "o", color=colour, alpha=0.35, ms=4)
            low, value, high = (last[key] for key in ("low", "value", "high"))
            axes.plot([low, high], [at, at], color=colour, lw=2)
            axes.plot([value], [at], "|", color=colour, ms=12, mew=2)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="right answers after the last step, %", ylim=(-0.6, len(names) - 0.4))


def in_order(names: Iterable[str]) -> list[str]:
    """The cells of each lab together: ESR, full rollouts, the mixture, then the others."""
    first = ("esr", "full", "mixture")

    def key(name: str) -> tuple[int, int, str]:
        lab = lab_of(name)
        rest = name.removeprefix(lab)
        return list(LABS).index(lab), first.index(rest) if rest in first else len(first), rest

    return sorted(names, key=key)


def figures(out: Path, asked: dict[str, Any], book: Book) -> dict[str, Any]:
    """The seconds, the correlations and the conditions."""
    complete = conditions(out)
    return {
        "seconds": _by_kind(asked["seconds"]), "front loading": front(out, complete),
        "conditions": {name: summary(name, complete) for name in in_order(complete)},
    }  # fmt: skip


if __name__ == "__main__":
    summarize(str(__doc__), "mixture", figures, tables, draw)
