"""Probe figures with bars and tables: commitment and categories."""

from __future__ import annotations

from typing import Any

from esr_cli.base.files import Rows
from esr_cli.plots.style import INK

LABELS = {"before": "student before", "after": "student after", "teacher": "teacher"}
# Bars from the bottom up: the student, the suffix of its figures, the label.
BARS = (
    ("after", "_own", "after, its own\nhighest tenth"), ("after", "", "after, at the\nsame places"),
    ("before", "", "before"),
)  # fmt: skip
RANKS = {
    "is_teacher_top1": ("the teacher's first", "C2"),
    "in_teacher_top2_5": ("its 2nd to 5th", "C1"),
    "outside_teacher_top5": ("outside its top 5", "C3"),
}
RANGES = ("0-4", "5-19", "20-49", "50-99", "100-199", "200-499", "500+")
# Means over fewer tokens are not coloured.
MIN_TOKENS = 20


def commitment(panels: Any, rows: Rows) -> None:
    """The teacher's rank of the student's top-1 token, and the response lengths."""
    choice, length = panels
    value = {(row["figure"], row["who"]): row["value"] for row in rows}
    shown = [each for each in BARS if (f"is_teacher_top1{each[1]}", each[0]) in value]
    left = [0.0] * len(shown)
    for figure, (rank, colour) in RANKS.items():
        shares = [value[f"{figure}{suffix}", who] for who, suffix, _ in shown]
        choice.barh(
            [label for *_, label in shown], shares, left=left, color=colour, label=rank, height=0.5
        )
        for place, share in enumerate(shares):
            if share > 0.04:
                middle = left[place] + share / 2
                choice.text(middle, place, f"{share:.0%}", ha="center", va="center", color="white")
            left[place] += share
    for place, (who, suffix, _) in enumerate(shown):
        prob, kl = value[f"top1_prob{suffix}", who], value[f"kl_mean{suffix}", who]
        note = f"its probability {prob:.2f}, mean KL {kl:.2f}"
        choice.text(0, place + 0.33, note, fontsize=8, color="0.3")
    choice.set(xlim=(0, 1), ylim=(-0.5, len(shown) - 0.1))
    choice.set_title("The student's first choice where the KL is highest is …")
    choice.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    measured = [who for who in ("teacher", "after", "before") if ("length_mean", who) in value]
    for place, who in enumerate(measured):
        low, middle, high, mean = (
            value[f"length_{part}", who] for part in ("p10", "p50", "p90", "mean")
        )
        length.plot([low, high], [place, place], color="0.6", lw=5, solid_capstyle="butt")
        length.plot([middle], [place], "|", color=INK, ms=14, mew=2)
        length.plot([mean], [place], "o", color=INK, ms=5)
    length.set_yticks(range(len(measured)), [LABELS[who] for who in measured])
    length.set(
        xlabel="tokens: 10th to 90th percentile, | median, ● mean", ylim=(-0.6, len(measured) - 0.4)
    )
    length.set_xlim(0, None)
    length.set_title("Length of responses")


def categories(panels: Any, rows: Rows) -> None:
    """A heat map of mean KL by token category and position, and the tokens of highest KL."""
    table, tokens = panels
    before = [row for row in rows if row["who"] == "before"]
    cells = {
        (row["category"], row["range"]): row for row in before if row["figure"] == "reverse_kl"
    }
    kinds = list(dict.fromkeys(kind for kind, _ in cells))
    ranges = [each for each in RANGES if any(place == each for _, place in cells)]
    values = [[_value(cells.get((kind, place))) for place in ranges] for kind in kinds]
    enough = [
        [_count(cells.get((kind, place))) >= MIN_TOKENS for place in ranges] for kind in kinds
    ]
    coloured = [[v if ok else float("nan") for v, ok in zip(*line, strict=True)]
                for line in zip(values, enough, strict=True)]  # fmt: skip
    top = max((v for line in coloured for v in line if v == v), default=1.0) or 1.0
    # NaN cells are not painted: the background shows.
    table.set_facecolor("0.92")
    table.imshow(coloured, cmap="OrRd", vmin=0, vmax=top, aspect="auto")
    for y, line in enumerate(values):
        for x, mean in enumerate(line):
            if mean == mean:
                colour = "white" if enough[y][x] and mean > 0.6 * top else "black"
                colour = colour if enough[y][x] else "0.5"
                cell = cells[kinds[y], ranges[x]]
                style = {"ha": "center", "va": "center", "color": colour}
                table.text(x, y - 0.25, f"{mean:.2f}", **style)
                interval = f"[{cell['low']:.2f}, {cell['high']:.2f}]\nn={cell['n']:,}"
                table.text(x, y + 0.18, interval, fontsize=5, **style)
    table.set_xticks(range(len(ranges)), ranges)
    table.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    table.tick_params(length=0)
    table.spines[["left", "bottom"]].set_visible(False)
    table.set(xlabel="response position (from 0)")
    table.set_title(f"Mean reverse KL (nats), before training; grey: n < {MIN_TOKENS}")
    shown_rows = [row for row in before if row["figure"] == "token_kl"][::-1]
    labels = [repr(row["token"])[1:-1].replace(" ", "·") for row in shown_rows]
    means = [row["value"] for row in shown_rows]
    errors = [
        [row["value"] - row["low"] for row in shown_rows],
        [row["high"] - row["value"] for row in shown_rows],
    ]
    tokens.barh(range(len(shown_rows)), means, xerr=errors, color="C3", error_kw={"lw": 0.8})
    tokens.set_yticks(range(len(shown_rows)), labels, family="monospace", fontsize=7)
    for place, row in enumerate(shown_rows):
        tokens.text(row["high"], place, f" n={row['n']:,}", va="center", fontsize=6)
    tokens.margins(x=0.15)
    tokens.set(xlabel="mean reverse KL (nats)")
    tokens.set_title(f"The {len(shown_rows)} tokens of highest mean KL (· is a blank)")


def _count(row: dict[str, Any] | None) -> int:
    return 0 if row is None else row["n"]


def _value(row: dict[str, Any] | None) -> float:
    return float("nan") if row is None or row["value"] is None else row["value"]
