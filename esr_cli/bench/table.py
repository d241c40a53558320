"""The terminal output of `esr bench`."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from esr_cli.base import terminal
from esr_cli.base.files import Rows
from esr_cli.base.words import counted
from esr_cli.bench.record import PHASES, SCORE_TRAIN


def show(record: dict[str, Any]) -> None:
    """Prints ceilings, tables of medians with floors, line fits, and ratios to a peer."""
    for engine, facts in record["ceilings"].items():
        print(
            f"{engine} on {facts['device']}: memory {facts['bytes_per_s'] / 1e9:.1f} GB/s, "
            f"matrices {facts['flops_per_s'] / 1e9:,.0f} GFLOP/s in {facts['dtype']}"
        )
    for name in dict.fromkeys(row["arm"] for row in record["rows"]):
        print(
            f"\n{name}: {record['pair']}, {record['tune']}, "
            f"{_work(record)} per step; median seconds of "
            f"{counted(record['repeats'], 'step')}, with the ratio to the floor below; "
            "peak memory by process"
        )
        terminal.show(_table(record, name))
    for name, line in record["line"].items():
        if line:
            print(
                f"{name}: {line['constant_s']:.3f} s + {1000 * line['s_a_token']:.2f} ms per token "
                f"of the longest response (R² {line['r2']:.3f})"
            )
    for phase, key in (("step", "ratio_to_trl"), (SCORE_TRAIN, "score_train_ratio_to_trl")):
        for name, by_length in record[key].items():
            ratios = ", ".join(
                f"N={length} {each['ratio']:.2f} ({each['low']:.2f} to {each['high']:.2f})"
                for length, each in by_length.items()
            )
            print(f"{phase} time of trl over {name}, median (range) of rounds: {ratios}")


def _table(record: dict[str, Any], configuration: str) -> Table:
    peaks = {
        (row["length"], row["process"]): row["gib"] for row in _of(configuration, record["memory"])
    }
    processes = list(dict.fromkeys(process for _, process in peaks))
    # At most 80 columns, the width when output goes to a file: `other` is what is left of a step.
    phases = [phase for phase in PHASES if phase != "other"]
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    names = (phase.replace("+", "+\n") for phase in phases)
    for heading in ("N", *names, "floor", *(f"{process}\nGiB" for process in processes)):
        table.add_column(heading, justify="right")
    rows = _of(configuration, record["rows"])
    for length in dict.fromkeys(row["length"] for row in rows):
        by_phase = {row["phase"]: row for row in rows if row["length"] == length}
        floor = by_phase["step"]["floor"]
        table.add_row(
            length, *(_cell(by_phase[phase]) if phase in by_phase else "–" for phase in phases),
            "" if floor is None else f"{floor:.3f}",
            *(f"{peaks[length, process]:.2f}" for process in processes),
        )  # fmt: skip
    return table


def _work(record: dict[str, Any]) -> str:
    """What a step samples; the length of the prompts if it was given."""
    responses, tokens = counted(record["responses"], "response"), record["prompt_tokens"]
    if record["rollouts_per_prompt"] > 1:
        responses += f", {record['rollouts_per_prompt']} to each prompt,"
    return responses + (f" after {counted(tokens, 'token')}" if tokens else "")


def _of(configuration: str, rows: Rows) -> Rows:
    return [row for row in rows if row["arm"] == configuration]


def _cell(row: dict[str, Any]) -> str:
    seconds = f"{row['seconds']:.{3 if row['seconds'] < 100 else 1}f}"
    return seconds if not row["floor"] else f"{seconds}\n{row['seconds'] / row['floor']:.1f}x"
