"""What models have forgotten: perplexity on plain text, and a task that the first model can do.

    python scripts/measure_forgetting.py real/base real/student real/teacher runs/…/student

The text is Python's own language reference as it ships with the interpreter (`pydoc_data.topics`),
in windows of 256 tokens. The task is to name the capitals of 48 countries, greedily; an answer is
right if it holds the name. None of both is in the training prompts. Intervals of the capitals are
Wilson's; the perplexity has none, as all models read the same text.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
import torch.nn.functional as F
from results import markdown, write
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from esr_cli.base.statistics import wilson
from esr_cli.runs import environment

WINDOW, WINDOWS, ANSWER_TOKENS = 256, 32, 24
CAPITALS = {
    "Austria": "Vienna", "Bangladesh": "Dhaka", "Belgium": "Brussels", "Bulgaria": "Sofia",
    "Canada": "Ottawa", "Chile": "Santiago", "China": "Beijing", "Colombia": "Bogot",
    "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Egypt": "Cairo",
    "Ethiopia": "Addis Ababa", "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin",
    "Ghana": "Accra", "Greece": "Athens", "Hungary": "Budapest", "Iceland": "Reykjav",
    "India": "Delhi", "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad",
    "Ireland": "Dublin", "Italy": "Rome", "Japan": "Tokyo", "Jordan": "Amman", "Kenya": "Nairobi",
    "Lebanon": "Beirut", "Morocco": "Rabat", "Nepal": "Kathmandu", "Norway": "Oslo",
    "Pakistan": "Islamabad", "Peru": "Lima", "Poland": "Warsaw", "Portugal": "Lisbon",
    "Romania": "Bucharest", "Russia": "Moscow", "Senegal": "Dakar", "Serbia": "Belgrade",
    "Spain": "Madrid", "Sweden": "Stockholm", "Syria": "Damascus", "Thailand": "Bangkok",
    "Turkey": "Ankara", "Uruguay": "Montevideo", "Vietnam": "Hanoi",
}  # fmt: skip
HEADS = ("model", "perplexity of plain text", "capitals named, %")


def main() -> None:
    """Prints a line for each model, and records the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    logging.disable_progress_bar()
    written = {
        "command": "python scripts/measure_forgetting.py MODELS",
        "versions": [environment.versions()], "machine": [environment.machine()],
        "models": {str(path): measured(path) for path in given.models},
    }  # fmt: skip
    print(tables(written)[0])
    if given.record:
        write(given.record, written)


def measured(path: Path) -> dict[str, Any]:
    """The figures of one model folder."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    right = sum(named(model, tokenizer, country, city) for country, city in CAPITALS.items())
    _, low, high = wilson(right / len(CAPITALS), len(CAPITALS))
    return {
        "perplexity": round(perplexity(model, tokenizer), 3), "right": right, "of": len(CAPITALS),
        "low": round(low, 4), "high": round(high, 4),
    }  # fmt: skip


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any) -> float:
    """The perplexity of the first windows of the text, without each window's first token."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    ids = tokenizer(text, add_special_tokens=False).input_ids[: WINDOW * WINDOWS]
    ids_BL = torch.tensor(ids).view(WINDOWS, WINDOW)
    total = 0.0
    for ids_L in ids_BL:
        logits_LV = model(input_ids=ids_L[None]).logits[0, :-1]
        total += float(F.cross_entropy(logits_LV, ids_L[1:], reduction="sum"))
    return math.exp(total / (WINDOWS * (WINDOW - 1)))


@torch.no_grad()
def named(model: Any, tokenizer: Any, country: str, city: str) -> bool:
    """Whether the greedy answer holds the capital."""
    turns = [{"role": "user", "content": f"What is the capital of {country}?"}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    found = model.generate(**ids, max_new_tokens=ANSWER_TOKENS, do_sample=False)
    return city.lower() in tokenizer.decode(found[0, ids.input_ids.shape[1] :]).lower()


def tables(written: dict[str, Any]) -> list[str]:
    """Markdown: a line for each model."""
    rows = []
    for name, each in written["models"].items():
        share, low, high = (
            100 * x for x in (each["right"] / each["of"], each["low"], each["high"])
        )
        rows.append([name, f"{each['perplexity']:.1f}", f"{share:.0f} [{low:.0f}, {high:.0f}]"])
    return [markdown(HEADS, rows)]


if __name__ == "__main__":
    main()
