"""Counts the weights of a model that an AdamW step of a given size cannot move.

    python scripts/count_lost_steps.py MODEL_FOLDER [lr=5e-6 ...]

MODEL_FOLDER holds safetensors files; `esr:student` and `esr:teacher` are the lab pair. A step of
AdamW has about the size of the learning rate. It is *lost* for a weight, rounded to a 16-bit type,
if neither weight - lr nor weight + lr, computed in fp32 as AdamW's fused kernel does and rounded to
the type, differs from the weight. The table has a row for each group of tensors (numbers in a name
become `*`) and one for all weights. Every weight of every file is counted. Weights that train in
fp32, or in 16 bits with fp32 masters (`tune.master=float32`), lose no such step.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from esr_cli.models.loading import resolve

TYPES = (torch.bfloat16, torch.float16)
# Weights compared at once, so that a large embedding takes little memory.
CHUNK = 1 << 22
Key = tuple[str, float, torch.dtype]


def lost(weights: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
    """Whether neither a step of `rate` up nor one down changes a weight (rounded to `dtype`)."""
    held = weights.to(dtype)
    down, up = (held.float() + step for step in (-rate, rate))
    return (down.to(dtype) == held) & (up.to(dtype) == held)


def group_of(name: str) -> str:
    """`model.layers.*.mlp.up_proj.weight` of a tensor of any layer."""
    return re.sub(r"\.\d+\.", ".*.", name)


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The floating-point tensors of all safetensors files in a folder, one at a time."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (a file is no mapping)
                tensor = file.get_tensor(name)
                if tensor.is_floating_point():
                    yield name, tensor


def counts(folder: Path, rates: list[float]) -> tuple[Counter[str], Counter[Key]]:
    """The weights of each group, and how many of them are lost by rate and type."""
    total, fixed = Counter[str](), Counter[Key]()
    for name, tensor in tensors(folder):
        group = group_of(name)
        total[group] += tensor.numel()
        for part in tensor.flatten().split(CHUNK):
            for rate in rates:
                for dtype in TYPES:
                    fixed[group, rate, dtype] += int(lost(part, rate, dtype).sum())
    return total, fixed


def table(total: Counter[str], fixed: Counter[Key], rates: list[float]) -> list[str]:
    """The lines of the table: shares of lost weights by group, and of all weights."""
    columns = [(rate, dtype) for rate in rates for dtype in TYPES]
    titles = [f"{rate:g} {str(dtype).removeprefix('torch.')}" for rate, dtype in columns]
    width = max(map(len, [*total, "all weights"]))
    lines = [" ".join([" " * width, f"{'weights':>14}", *(f"{t:>16}" for t in titles)])]
    for label, groups in [*((group, [group]) for group in total), ("all weights", list(total))]:
        count = sum(total[group] for group in groups)
        shares = [
            sum(fixed[group, rate, dtype] for group in groups) / count for rate, dtype in columns
        ]
        cells = [f"{share:>16.2%}" for share in shares]
        lines.append(" ".join([f"{label:<{width}}", f"{count:>14,}", *cells]))
    return lines


def main() -> int:
    """Prints the table; returns 2 if the arguments name no weights."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(resolve(sys.argv[1]))
    rates = [float(text.removeprefix("lr=")) for text in sys.argv[2:]] or [5e-6]
    total, fixed = counts(folder, rates)
    if not total:
        print(f"{folder}: holds no safetensors file with weights", file=sys.stderr)
        return 2
    print("share of weights that a step of this size cannot move in this type")
    print("\n".join(table(total, fixed, rates)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
