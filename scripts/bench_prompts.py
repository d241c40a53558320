"""What prompts cost: scoring and training beside TRL, by their tokens and the responses to each.

    python scripts/bench_prompts.py MODEL OUT [--record docs/results/prompt_bench.json]

MODEL is a small language model that is its own teacher; SmolLM2-135M-Instruct was measured. Each
line is a run of `esr bench`, whose arms work on the same tokens. With one response to a prompt
nothing is shared: what such a line says of a response, each would cost without sharing, for equal
settings. OUT keeps what is measured, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from results import markdown, write

SETTINGS = (
    "pair=own", "pair.student.path={model}", "pair.teacher.path={model}", "pair.dtype=float32",
    "task=lab", "benchmark=lab", "tune=lora", "engines=[eager]", "peer=trl", "rollout_lens=[32]",
    "warmup=0",
)  # fmt: skip
# Another gradient, which saves most where nothing is shared.
WITHOUT = "tune.prompt_gradient=false"
# Both arms: the peer passes the whole batch at once, 16,256 tokens.
CHECKPOINTS = "tune.gradient_checkpointing=true"
TWICE, ONCE = "repeats=2", "repeats=1"
# Tokens of a prompt, prompts in a step, responses to each, rounds, settings; longer prompts come in
# smaller steps.
RUNS = (
    (100, 8, 1, TWICE), (100, 1, 8, TWICE), (500, 4, 1, TWICE), (500, 4, 1, TWICE, WITHOUT),
    (500, 1, 8, TWICE), (2000, 2, 1, TWICE), (2000, 1, 8, ONCE, CHECKPOINTS),
)  # fmt: skip
HEADS = (
    "prompt, tokens", "prompts x responses", "settings", "score, s", "train, s",
    "a response, s", "TRL: score, s", "train, s", "a response, s", "TRL / ours",
)  # fmt: skip


def main() -> None:
    """Measures what is missing, prints the table, and records it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    written: dict[str, Any] = {
        "command": "python scripts/bench_prompts.py MODEL OUT", "settings": list(SETTINGS),
        "runs": {},
    }  # fmt: skip
    for tokens, prompts, responses, repeats, *more in RUNS:
        name = "_".join([f"{tokens}x{prompts}x{responses}", *more])
        asked = [
            f"prompt_tokens={tokens}", f"prompts_per_step={prompts}",
            f"rollouts_per_prompt={responses}", repeats, *more,
        ]  # fmt: skip
        found = measured(given.model.absolute(), given.out / name, asked)
        run = {
            **{key: found[key] for key in ("date", "versions", "machine")}, "tokens": tokens,
            "prompts": prompts, "responses": responses, "more": more,
            **{arm: {phase: _all(found, arm, phase) for phase in ("score", "train")}
               for arm in ("eager", "trl")},
        }  # fmt: skip
        written["runs"][name] = run | _compared(run)
        print(tables(written)[0], flush=True)
        if given.record:
            write(given.record, written)


def measured(model: Path, out: Path, asked: list[str]) -> dict[str, Any]:
    """The figures of one `esr bench`, from an earlier call if it ended."""
    if not (out / "bench.json").is_file():
        settings = [each.format(model=model) for each in SETTINGS]
        place = f"run_dir={out}"
        command = [sys.executable, "-m", "esr_cli.cli", "bench", *settings, *asked, place]
        subprocess.run(command, check=True)
    found: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return found


def _all(found: dict[str, Any], arm: str, phase: str) -> list[float]:
    [row] = (row for row in found["rows"] if (row["arm"], row["phase"]) == (arm, phase))
    seconds: list[float] = row["all"]
    return seconds


def tables(written: dict[str, Any]) -> list[str]:
    """Markdown: a line a run, with medians of the rounds, and the ratio of every round."""
    return [markdown(HEADS, map(_row, written["runs"].values()))]


def _compared(run: dict[str, Any]) -> dict[str, Any]:
    """Median seconds of scoring and training a response, and how much longer TRL took a round."""
    ours, peer = (
        [sum(both) for both in zip(run[arm]["score"], run[arm]["train"], strict=True)]
        for arm in ("eager", "trl")
    )
    ratios = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    count = run["prompts"] * run["responses"]
    return {
        "a_response_s": {"eager": median(ours) / count, "trl": median(peer) / count},
        "ratio": {"median": median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def _row(run: dict[str, Any]) -> list[str]:
    cells = [
        f"{seconds:.2f}"
        for arm in ("eager", "trl")
        for seconds in (
            median(run[arm]["score"]), median(run[arm]["train"]), run["a_response_s"][arm],
        )
    ]  # fmt: skip
    ratio = "{median:.2f} ({low:.2f} to {high:.2f})".format(**run["ratio"])
    shape = f"{run['prompts']} x {run['responses']}"
    return [f"{run['tokens']:,}", shape, " ".join(run["more"]) or "–", *cells, ratio]


if __name__ == "__main__":
    main()
