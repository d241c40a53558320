"""The passes over one step of GSM8K's prompts by the size of micro-batches, in seconds of a CPU.

    python scripts/measure_padding.py MODEL DATA > docs/results/padding.txt

MODEL is a small language model, DATA a folder with GSM8K's files. For each step of eight prompts
with responses of 32 tokens: the tokens after which a micro-batch takes no sequence that would need
much padding, the micro-batches, the padded tokens over the real ones, and the processor's seconds
of a teacher's pass (forward) and of a student's (forward and backward, all weights).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from esr_cli.models import batching
from esr_cli.runs import environment

PROMPTS, RESPONSE, BUDGET, STEPS = 8, 32, 16384, 3
ENOUGH = (2048, 512, 256, 1)


def main() -> None:
    """Prints a line for each step and size."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    print("python scripts/measure_padding.py MODEL DATA")
    print(
        environment.versions(), "|", environment.machine(), "|", torch.get_num_threads(), "threads"
    )
    lines = (given.data / "gsm8k_train.jsonl").read_text().splitlines()[: STEPS * PROMPTS]
    sequences = [_ids(tokenizer, json.loads(line)["question"]) for line in lines]
    for step in range(STEPS):
        own = sequences[step * PROMPTS : (step + 1) * PROMPTS]
        for enough in ENOUGH:
            print(f"step {step}  enough {enough:>4}  {_measured(model, own, enough)}", flush=True)


def _ids(tokenizer: Any, question: str) -> tuple[int, ...]:
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    return (*prompt, *[tokenizer.eos_token_id] * (RESPONSE - 1))


def _measured(model: Any, sequences: list[tuple[int, ...]], enough: int) -> str:
    lengths = list(map(len, sequences))
    groups = batching.micro_batches(lengths, BUDGET, enough)
    padded = sum(len(group) * max(lengths[i] for i in group) for group in groups) / sum(lengths)
    batches = [batching.pad([sequences[i] for i in group], "cpu") for group in groups]
    with torch.no_grad():
        forward = min(_seconds(model, batches, backward=False) for _ in range(2))
    both = _seconds(model, batches, backward=True)
    return (
        f"micro-batches {len(groups)}  padded/real {padded:.2f}  forward {forward:.2f} s"
        f"  with backward {both:.2f} s"
    )


def _seconds(model: Any, batches: list[torch.Tensor], backward: bool) -> float:
    began = time.process_time()
    for ids_BL in batches:
        hidden_BLD = model.model(input_ids=ids_BL, use_cache=False).last_hidden_state
        if backward:
            hidden_BLD[:, -RESPONSE:].square().sum().backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - began


if __name__ == "__main__":
    main()
