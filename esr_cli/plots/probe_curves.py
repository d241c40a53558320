"""Probe figures with curves: over positions, over k, over steps."""

from __future__ import annotations

from math import ceil
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.base.statistics import GOING, REACHED

COLOURS = {"before": "0.45", "after": "C0", "student": "0.45", "teacher": "C2", "continued": "C3"}
# The range of N over which the paper finds a plateau of accuracy.
PLATEAU = (50, 200)
MOST_POINTS = 150

SHARES = (("repeats", "-"), ("truncated", "--"), ("boxed", ":"), ("several_boxes", "-."))


def decay(panels: Any, rows: Rows) -> None:
    """Accuracy over k, with the teacher's and the student's own; dashed if fewer than 90 % of the
    responses are unfinished at k. Beside it, the accuracy by what the prefix holds.
    """
    whole, parts = panels
    curve = sorted(_of(rows, "accuracy", "continued"), key=lambda row: row["at"])
    unfinished = sorted((r for r in rows if r["figure"] == "share_going"), key=lambda r: r["at"])
    whole.fill_between(
        [row["at"] for row in unfinished], [row["value"] for row in unfinished], color="0.92", lw=0,
        label="share of responses not over at k",
    )  # fmt: skip
    for who in ("teacher", "student"):
        [alone] = _of(rows, "accuracy", who)
        whole.axhline(alone["value"], color=COLOURS[who], ls="--", lw=1, label=f"{who} alone")
    solid = sum(row["value"] >= GOING for row in unfinished)
    colour, label = COLOURS["continued"], "teacher goes on from k"
    if solid:
        _with_interval(whole, curve[:solid], color=colour, capsize=3, marker="o", ms=4, label=label)
    if solid < len(curve):
        # Starts at the last solid point, so that the two parts join.
        dashed = {"marker": ".", "lw": 0.8, "ls": "--", "label": "… where fewer than 90 % still go"}
        _with_interval(whole, curve[max(0, solid - 1) :], color=colour, capsize=3, **dashed)
    _curve(whole, _of(rows, "accuracy", "control"), "teacher goes on from its own k", "C2")
    _curve(whole, _of(rows, "accuracy", "mirror"), "student goes on from the teacher's k", "C0")
    continued = [row for row in rows if row.get("who") == "continued"]
    for result, colour in (("right", "C2"), ("wrong", "C3")):
        own = [row for row in continued if row.get("student") == result]
        _curve(parts, own, f"the student's own response was {result}", colour)
    words = list(dict.fromkeys(row["prefix"] for row in continued if "prefix" in row))
    for number, word in enumerate(words):
        own = [row for row in continued if row.get("prefix") == word]
        _curve(parts, own, f"the first k tokens hold {word!r}", f"C{4 + number}", ls=":")
    for axes in panels:
        axes.set(xlabel="k, tokens of the prefix", ylim=(0, 1.04))
        axes.set_xlim(-0.02 * curve[-1]["at"], None)
        _legend_below(axes)
    whole.set_ylabel("accuracy, 95 % interval")
    whole.set_title("What a model makes of the other's beginnings")
    parts.set_title("The teacher's part, where the student's goes on past k")


def _curve(axes: Any, rows: Rows, label: str, colour: str, **style: Any) -> None:
    if rows:
        style = {"marker": ".", "ms": 5, "lw": 1, "capsize": 2, "color": colour, **style}
        _with_interval(axes, sorted(rows, key=lambda row: row["at"]), label=label, **style)


def profile(panels: Any, rows: Rows) -> None:
    """KL and entropies by position, and the cumulative share of the KL."""
    curves, mass = panels
    labels = {"reverse_kl": "reverse KL", "student_entropy": "student entropy",
              "teacher_entropy": "teacher entropy"}  # fmt: skip
    for (name, label), colour in zip(labels.items(), ("C3", "C0", "C2"), strict=True):
        curves.plot(*points(rows, name, "before"), color=colour, lw=1.3, label=label)
    after = _of(rows, "reverse_kl", "after")
    if after:
        line = points(rows, "reverse_kl", "after")
        curves.plot(*line, color="C3", lw=1.1, ls=":", label="reverse KL after training")
    curves.set(xlabel="response position (tokens)", ylabel="nats a token", ylim=(0, None))
    curves.set_title("By position, before training" if after else "By position")
    _legend_below(curves)
    cumulative = sorted(_of(rows, "cumulative_kl", "before"), key=lambda row: row["at"])
    mass.axvspan(*PLATEAU, color="C1", alpha=0.13, lw=0, label="the paper's plateau, N = 50 to 200")
    mass.plot(
        [row["at"] for row in cumulative], [row["value"] or 0 for row in cumulative], color="C3"
    )
    [suggested] = _of(rows, "suggested_tokens", "before")
    if suggested["value"] is not None:
        n, share = suggested["value"], suggested["share"]
        mass.plot([n, n, 0], [0, share, share], color="0.2", lw=1, ls="--")
        mass.plot([n], [share], "o", color="0.2", ms=4, label=f"{share:.0%} of it: N = {n:.0f}")
    mass.set(xlabel="response position (tokens)", ylabel="share of the whole KL", ylim=(0, 1.02))
    mass.set_xlim(0, cumulative[-1]["at"])
    mass.set_title("How much of the KL lies before")
    _legend_below(mass)


def cascade(axes: Any, rows: Rows) -> None:
    """KL by position before and after training, with the trained region shaded."""
    drops = {row.get("region"): row for row in rows if row["figure"] == "drop"}
    same = {row["region"]: row for row in rows if row["figure"] == "drop_same_text"}
    for who in ("before", "after"):
        line = points(rows, "reverse_kl", who)
        axes.plot(*line, color=COLOURS[who], label=f"{who} training")
    if _of(rows, "reverse_kl", "same_text"):
        line = points(rows, "reverse_kl", "same_text")
        axes.plot(*line, color="C0", lw=1, ls=":", label="after, on the text from before")
    top, end = axes.get_ylim()[1], axes.get_xlim()[1]
    axes.set(xlabel="response position (tokens)", ylabel="reverse KL (nats)", ylim=(0, 1.3 * top))
    if "trained" in drops:
        # Up to N, even if too few responses reach it.
        start, stop = drops["trained"]["from"] - 0.5, drops["untrained"]["from"] - 0.5
        axes.axvspan(start, min(stop, end), color="C0", alpha=0.08, lw=0)
        axes.set_xlim(None, end)
    for region, row in drops.items():
        if row["value"] is not None:
            spread = f"[{-row['high']:+.0%}, {-row['low']:+.0%}]"
            middle = (row["from"] + row["to"]) / 2
            text = f"{region}\n{-row['value']:+.0%}\n{spread}"
            if same.get(region, {}).get("value") is not None:
                # A rounded zero has no sign.
                text += f"\nsame text {round(-same[region]['value'], 2) + 0.0:+.0%}"
            axes.text(middle, 1.27 * top, text, ha="center", va="top", fontsize=8)
        elif region != "trained" and "why" in row:
            place = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 8}
            axes.text(0.99, 0.97, row["why"], **place)
    axes.set_title("The KL inside N and past it")
    _legend_below(axes)


def stability(panels: Any, rows: Rows) -> None:
    """Accuracy, shares of degenerate responses, and length, by step and benchmark."""
    accuracy, shares, length = panels
    names = list(dict.fromkeys(row["benchmark"] for row in rows))
    for number, name in enumerate(names):
        own = [row for row in rows if row["benchmark"] == name]
        headline = next(r["figure"] for r in own if r["figure"].startswith("avg@"))
        prefix = f"{name} " if len(names) > 1 else ""
        _line(accuracy, own, headline, f"{name} {headline}", f"C{number}", "-")
        for figure, dashes in SHARES:
            _line(shares, own, figure, f"{prefix}{figure.replace('_', ' ')}", f"C{number}", dashes)
        _line(length, own, "length_tokens/mean", name, f"C{number}", "-")
        [fall] = [row for row in own if row["figure"] == "fall"]
        if fall["value"] > 0:
            text = f"{name}: -{fall['value']:.3f} from its peak"
            accuracy.text(
                0.02, 0.04 + 0.07 * number, text, transform=accuracy.transAxes, fontsize=8
            )
    for axes, title in (
        (accuracy, "Accuracy, 95 % interval"), (shares, "Share of responses"),
        (length, "Mean length (tokens)"),
    ):  # fmt: skip
        axes.set(xlabel="step", ylim=(0, None if axes is length else 1.04))
        axes.set_title(title)
        axes.legend(fontsize=8)


def _line(axes: Any, rows: Rows, figure: str, label: str, colour: str, dashes: str) -> None:
    own = sorted((row for row in rows if row["figure"] == figure), key=lambda row: row["at"])
    if own:
        style = {"marker": "o", "ms": 3, "capsize": 2, "lw": 1.2, "ls": dashes}
        _with_interval(axes, own, color=colour, label=label, **style)


def _with_interval(axes: Any, rows: Rows, **style: Any) -> None:
    places, values = [row["at"] for row in rows], [row["value"] for row in rows]
    errors = [
        [row["value"] - row["low"] for row in rows],
        [row["high"] - row["value"] for row in rows],
    ]
    axes.errorbar(places, values, yerr=errors, **style)


def _legend_below(axes: Any) -> None:
    """Below the axes, since no corner is free of curves in every run."""
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))


def points(rows: Rows, name: str, who: str) -> tuple[list[float], list[float]]:
    """A curve by position, up to where a tenth of the responses reach.

    A long curve is averaged over neighbouring positions, weighted by their number of responses.
    """
    own = sorted(_of(rows, name, who), key=lambda row: row["at"])
    most = max((row["n"] for row in own), default=0)
    kept = [row for row in own if row["value"] is not None and row["n"] >= REACHED * most]
    size = ceil(len(kept) / MOST_POINTS) or 1
    groups = [kept[i : i + size] for i in range(0, len(kept), size)]
    counts = [sum(row["n"] for row in group) for group in groups]
    sums = [sum(row["value"] * row["n"] for row in group) for group in groups]
    places = [sum(row["at"] for row in group) / len(group) for group in groups]
    return places, [total / count for total, count in zip(sums, counts, strict=True)]


def _of(rows: Rows, figure: str, who: str) -> Rows:
    return [row for row in rows if row["figure"] == figure and row.get("who") == who]
