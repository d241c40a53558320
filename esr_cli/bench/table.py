"""What `esr bench` says on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from esr_cli.base.files import Rows
from esr_cli.bench.record import PHASES


def show(record: dict[str, Any]) -> None:
    """A table of medians with floors, the ceilings, the lines, and the ratios to a peer."""
    console = Console(markup=False, highlight=False)
    for engine, facts in record["ceilings"].items():
        console.print(
            f"{engine} on {facts['device']}: memory {facts['bytes_per_s'] / 1e9:.1f} GB/s, "
            f"matrices {facts['flops_per_s'] / 1e9:,.0f} GFLOP/s in {facts['dtype']}"
        )
    for arm in dict.fromkeys(row["arm"] for row in record["rows"]):
        console.print(
            f"\n{arm}: {record['pair']}, {record['tune']}, {record['responses']} responses a step; "
            f"median seconds of {record['repeats']} steps, below them times the floor; "
            "peaks of memory by process"
        )
        console.print(_table(record, arm))
    for arm, line in record["line"].items():
        if line:
            console.print(
                f"{arm}: {line['constant_s']:.3f} s + {1000 * line['s_a_token']:.2f} ms a token of "
                f"the longest response (R² {line['r2']:.3f})"
            )
    for arm, by_length in record["ratio_to_trl"].items():
        told = ", ".join(
            f"N={length} {each['ratio']:.2f} [{each['low']:.2f}, {each['high']:.2f}]"
            for length, each in by_length.items()
        )
        console.print(f"trl's step takes so many times as long as {arm}'s: {told}")


def _table(record: dict[str, Any], arm: str) -> Table:
    peaks = {(row["length"], row["process"]): row["gib"] for row in _of(arm, record["memory"])}
    processes = list(dict.fromkeys(process for _, process in peaks))
    # No more than 80 columns, which is what there is where output goes to a file.
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for heading in ("N", *PHASES, "floor", *(f"{process}\nGiB" for process in processes)):
        table.add_column(heading, justify="right")
    own = _of(arm, record["rows"])
    for length in dict.fromkeys(row["length"] for row in own):
        found = {row["phase"]: row for row in own if row["length"] == length}
        floor = found["step"]["floor"]
        table.add_row(
            length, *(_cell(found[phase]) for phase in PHASES),
            "" if floor is None else f"{floor:.3f}",
            *(f"{peaks[length, process]:.2f}" for process in processes),
        )  # fmt: skip
    return table


def _of(arm: str, rows: Rows) -> Rows:
    return [row for row in rows if row["arm"] == arm]


def _cell(row: dict[str, Any]) -> str:
    told = f"{row['seconds']:.{3 if row['seconds'] < 100 else 1}f}"
    return told if not row["floor"] else f"{told}\n{row['seconds'] / row['floor']:.1f}x"
