"""The seconds, bytes and memory of a step on paper, for pairs of models and numbers of GPUs.

    python scripts/plan_on_paper.py [--record FILE]

What `esr check` computes for a run on GPUs (`esr_cli/check/paper.py`), for models given by their
shapes alone. The record is docs/results/scale_plan.json.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results import markdown, write
from transformers import AutoConfig

from esr_cli.check.paper import (
    Gpus,
    Machine,
    Step,
    gpu_bytes,
    handed_bytes,
    seconds,
    state_bytes,
)
from esr_cli.config import TuneConfig
from esr_cli.models.outlines import outline

GB = 1e9
# Published shapes: width, layers, heads, heads of keys and values, width of the MLP, vocabulary.
SHAPES = {
    "1.5B": ("qwen2", 1536, 28, 12, 2, 8960, 151936, True),
    "1.7B": ("qwen3", 2048, 28, 16, 8, 6144, 151936, True),
    "7B": ("qwen2", 3584, 28, 28, 4, 18944, 152064, False),
    "32B": ("qwen2", 5120, 64, 40, 8, 27648, 152064, False),
    "72B": ("qwen2", 8192, 80, 64, 8, 29568, 152064, False),
}
RESPONSES, PROMPT = 128, 150
LORA = {"method": "lora", "rank": 32, "targets": ["all-linear"]}
ROWS: list[tuple[str, str, str, Gpus, int]] = [
    ("1.5B", "1.7B", "lora", Gpus(shared=True), 100),
    ("1.5B", "1.7B", "lora", Gpus(shared=True), 4096),
    ("7B", "32B", "lora", Gpus(4, 2, 2), 100),
    ("32B", "72B", "lora", Gpus(2, 4, 2), 100),
    ("32B", "72B", "lora", Gpus(4, 8, 4), 100),
    ("32B", "72B", "full", Gpus(16, 8, 8), 100),
    ("32B", "72B", "full", Gpus(16, 8, 8), 4096),
]
PHASES = ("generate", "score", "train", "sync", "sum", "ahead")


def shape_of(name: str) -> Any:
    """The transformers configuration of one of `SHAPES`."""
    kind, width, layers, heads, pairs, mlp, rows, tied = SHAPES[name]
    return AutoConfig.for_model(
        kind, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=pairs, intermediate_size=mlp, vocab_size=rows,
        tie_word_embeddings=tied, head_dim=128,
    )  # fmt: skip


def row(student: str, teacher: str, method: str, gpus: Gpus, length: int) -> dict[str, Any]:
    """The figures of one line."""
    tune = TuneConfig(**(LORA if method == "lora" else {"method": method}),
                      gradient_checkpointing=True, micro_batch_tokens=16384)  # fmt: skip
    models = outline(shape_of(student)), outline(shape_of(teacher))
    step, machine = Step(*models, RESPONSES, PROMPT, length, tune), Machine()
    wire = {"states": state_bytes(step), "weights": handed_bytes(step)}
    return {
        "pair": f"{student} ← {teacher}", "method": method, "N": length,
        "gpus": [gpus.count, gpus.trainers, gpus.teachers, gpus.engines],
        "seconds": {name: round(s, 3) for name, s in seconds(step, gpus, machine).items()},
        "wire_gb": {name: round(b / GB, 3) for name, b in wire.items()},
        "gpu_gb": {name: round(b / GB, 1) for name, b in gpu_bytes(step, gpus, machine).items()},
    }  # fmt: skip


def figures() -> dict[str, Any]:
    """All lines, by pair, method, number of GPUs and N."""
    found = {}
    for given in ROWS:
        made = row(*given)
        found[f"{made['pair']}, {made['method']}, {made['gpus'][0]} GPUs, N={made['N']}"] = made
    return found


def tables(written: dict[str, Any]) -> list[str]:
    """The lines as a Markdown table."""
    heads = [
        "GPUs (trainer + teacher + engine)", "N", *PHASES[:4], "sum", "one step ahead",
        "GB a GPU: trainer / teacher / engine", "GB a step: states / weights",
    ]  # fmt: skip
    lines = []
    for made in written["lines"].values():
        count, *roles = made["gpus"]
        split = " + ".join(map(str, roles)) if count > 1 else "in turns"
        lines.append([
            f"{made['pair']}, {made['method']}, {count} ({split})", f"{made['N']:,}",
            *(f"{made['seconds'][name]:.2f}" for name in PHASES),
            " / ".join(f"{each:.0f}" for each in made["gpu_gb"].values()),
            " / ".join(f"{each:.2f}" for each in made["wire_gb"].values()),
        ])  # fmt: skip
    return [markdown(heads, lines)]


def main() -> None:
    """Prints the table; records the figures as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    written = {
        "command": "python scripts/plan_on_paper.py --record docs/results/scale_plan.json",
        "machine": asdict(Machine()), "responses": RESPONSES, "prompt_tokens": PROMPT,
        "lines": figures(),
    }  # fmt: skip
    print("\n".join(tables(written)))
    if given.record:
        write(given.record, written)


if __name__ == "__main__":
    main()
