"""Supervised training of the lab's two models."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from esr_cli.config import LabConfig
from esr_cli.lab.tokenizers import END

# A question and the response to learn.
Example = tuple[str, str]
Draw = Callable[[random.Random], Example]


def encode(tokenizer: Any, examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """`ids_BL` padded on the right and `labels_BL` with -100 outside the responses.

    A response that does not end with one of the two end tokens gets the tokenizer's own.
    """
    rows, starts = [], []
    ends = tokenizer.convert_tokens_to_ids(["<eos>", END])
    for question, response in examples:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        prompt = tokenizer.apply_chat_template(
            turns[:1], add_generation_prompt=True, return_dict=False
        )
        # The word-level tokenizer drops the blank; in the byte-level one it is part of a word.
        answer = tokenizer(f" {response}", add_special_tokens=False).input_ids
        end = [] if answer[-1] in ends else [tokenizer.eos_token_id]
        rows.append([*prompt, *answer, *end])
        starts.append(len(prompt))
    longest = max(map(len, rows))
    ids_BL = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    labels_BL = torch.full_like(ids_BL, -100)
    for b, (row, start) in enumerate(zip(rows, starts, strict=True)):
        labels_BL[b, start : len(row)] = ids_BL[b, start : len(row)]
    return ids_BL, labels_BL


def steps(
    model: Any, tokenizer: Any, draw: Draw, config: LabConfig, seed: int, rates: list[float]
) -> Iterator[tuple[int, float, float]]:
    """One optimizer step per rate; yields (step, loss, accuracy of the tokens after `=`)."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    # `=` is one token in each tokenizer of the lab, and so is the result after it.
    (equals,) = tokenizer(" =", add_special_tokens=False).input_ids
    model.train()
    for step, rate in enumerate(rates):
        ids_BL, labels_BL = encode(tokenizer, [draw(rng) for _ in range(config.batch)])
        logits_BLV = model(input_ids=ids_BL, use_cache=False).logits[:, :-1]
        targets_BL = labels_BL[:, 1:]
        loss = F.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        results_BL = (ids_BL[:, :-1] == equals) & (targets_BL != -100)
        hits = (logits_BLV.argmax(-1) == targets_BL)[results_BL].float().mean()
        yield step, float(loss.detach()), float(hits)


def falling_rates(rate: float, count: int) -> list[float]:
    """Learning rates that fall linearly from `rate` to zero."""
    return [rate * (1 - i / count) for i in range(count)]


def linear_rates(config: LabConfig, count: int) -> list[float]:
    """Warm-up over 100 steps (or a fifth), then linear decay, floored at a tenth.

    Accuracy stops the training; twice `count` steps is the upper bound.
    """
    warm = min(100, max(1, count // 5))
    shares = [min((i + 1) / warm, max(0.1, 1 - i / count)) for i in range(2 * count)]
    return [config.learning_rate * share for share in shares]


def train(
    role: str, model: Any, tokenizer: Any, draw: Draw, config: LabConfig, seed: int,
    rates: list[float], stop_at: float = 2.0,
) -> float:  # fmt: skip
    """Trains until the running accuracy passes `stop_at` or the rates end; returns it."""
    running, began = 0.0, time.perf_counter()
    for step, loss, accuracy in steps(model, tokenizer, draw, config, seed, rates):
        running = 0.9 * running + 0.1 * accuracy
        stop = running >= stop_at
        if (step + 1) % 50 == 0 or stop:
            seconds = time.perf_counter() - began
            print(
                f"{role:8} step {step + 1:4}  loss {loss:.3f}  arithmetic {running:.3f}"
                f"  {seconds:.0f} s",
                flush=True,
            )
        if stop:
            break
    return running
