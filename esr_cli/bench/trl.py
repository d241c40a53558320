"""TRL's `DistillationTrainer` as an arm of a bench, with the settings of ours, step by step.

It is the trainer itself that runs, in a thread that waits before each step until it is asked for
one. Its prompts are our token ids; its own clock and ours agree on where a step begins and ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from esr_cli.assembly.data import make_task
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.base import process
from esr_cli.config import TrainConfig
from esr_cli.models import loading
from esr_cli.student import tuning
from esr_cli.types import Rollout


class Trl:
    """TRL with vLLM colocated, or with the generation of transformers.

    `steps` is how many steps will be asked for; `folder` is for what the trainer writes. Raises
    what TRL raises where it cannot run with these models or this engine.
    """

    def __init__(self, config: TrainConfig, folder: str, steps: int, vllm: bool) -> None:
        self.config, self._seconds = config, dict[str, float]()
        _prepare_environment(config.execution.device)
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._failed: BaseException | None = None
        self._lengths: list[int] = []
        pair = config.pair
        tokenizers = [
            loading.load_tokenizer(each.path, each.revision, each.trust_remote_code)
            for each in (pair.student, pair.teacher)
        ]
        self._stop_ids = list(resolve_pairing(pair, *tokenizers).stop_ids)
        task = make_task(config, *tokenizers)
        batches = [task.train(step, config.prompts_per_step) for step in range(steps)]
        self._trainer = self._make(
            [each.student_ids for batch in batches for each in batch],
            tokenizers[0],
            folder,
            steps,
            vllm,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def loss(self, rollouts: list[Rollout]) -> float:
        """Its loss on our completions, before its first step."""
        trainer = self._trainer
        prompts = _padded([each.prompt.student_ids for each in rollouts], left=True)
        responses = _padded([each.response_ids for each in rollouts], left=False)
        device = trainer.accelerator.device
        inputs = {
            "prompt_ids": prompts[0], "prompt_mask": prompts[1],
            "completion_ids": responses[0], "completion_mask": responses[1],
            "num_items_in_batch": responses[1].sum(),
        }  # fmt: skip
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        trainer.model.train()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            return float(trainer.compute_loss(trainer.model, inputs))

    def step(self, number: int, tokens: int, weigh: bool = False) -> dict[str, Any]:
        """One step of at most `tokens` a response, as `Ours.step` tells it, without floors."""
        if not self._thread.is_alive():
            self._thread.start()
        trainer = self._trainer
        trainer.generation_config.max_new_tokens = trainer.max_completion_length = tokens
        if trainer.use_vllm:
            trainer.vllm_generation.max_completion_length = tokens
        self._seconds.clear()
        if weigh:
            process.reset_peak()
        began = time.perf_counter()
        self._go.release()
        self._done.acquire()
        if self._failed:
            raise self._failed
        assert "generate" in self._seconds, "trl's trainer has ended, and took no step"
        spent = {"step": time.perf_counter() - began, **self._seconds}
        spent["train"] = spent["step"] - sum(self._seconds.values())
        return {
            "seconds": spent, "gib": {"trainer": process.peak_gib()} if weigh else {},
            "tokens": sum(self._lengths), "longest": max(self._lengths),
        }  # fmt: skip

    def close(self) -> None:
        """The thread ends with the process."""

    def _run(self) -> None:
        try:
            self._trainer.train()
        except BaseException as error:
            self._failed = error
        self._done.release()

    def _make(
        self, prompts: list[tuple[int, ...]], tokenizer: Any, folder: str, steps: int, vllm: bool
    ) -> Any:
        from datasets import Dataset
        from trl import DistillationConfig, DistillationTrainer

        config, pair, tune = self.config, self.config.pair, self.config.tune
        device = loading.pick_device(config.execution.device).partition(":")[0]
        dtype = loading.pick_dtype(pair.dtype, device)
        settings = DistillationConfig(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=config.prompts_per_step,
            learning_rate=tune.learning_rate, lr_scheduler_type="constant", warmup_steps=0,
            adam_beta1=tune.beta1, adam_beta2=tune.beta2, weight_decay=tune.weight_decay,
            max_grad_norm=tune.clip_norm, gradient_checkpointing=tune.gradient_checkpointing,
            temperature=config.rollout.temperature, top_p=config.rollout.top_p,
            top_k=config.rollout.top_k, max_completion_length=1, beta=1.0, shuffle_dataset=False,
            use_vllm=vllm, vllm_mode="colocate", vllm_max_model_length=pair.context_tokens,
            vllm_gpu_memory_utilization=config.rollout.gpu_memory_utilization,
            bf16=dtype == "bfloat16", use_cpu=device == "cpu", report_to="none",
            save_strategy="no", logging_steps=10**9, disable_tqdm=True, seed=config.seed,
            disable_dropout=True,
        )  # fmt: skip
        loaded = [
            loading.load_model(each.path, dtype, device, each.revision, each.trust_remote_code)
            for each in (pair.student, pair.teacher)
        ]
        # By its own settings a student may go on where the pair's responses end.
        loaded[0].generation_config.eos_token_id = self._stop_ids
        lora = tune.method == "lora"
        adapters = tuning.lora_config(tune.rank, tune.alpha, tune.targets) if lora else None
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        trainer = DistillationTrainer(
            model=loaded[0], teacher_model=loaded[1], args=settings,
            train_dataset=Dataset.from_dict({"prompt": [" ".join(map(str, p)) for p in prompts]}),
            processing_class=tokenizer, peft_config=adapters, callbacks=[_gate(self)],
        )  # fmt: skip
        # Our prompts as they are, whatever a chat template would make of their text.
        vars(trainer)["_tokenize_prompts"] = _ids
        self._time(trainer)
        return trainer

    def _time(self, trainer: Any) -> None:
        """Adds up the seconds of generation, of the hand-over (with LoRA it merges and parts
        again), and of the teacher."""
        generate, score = trainer._generate_single_turn, trainer._get_last_hidden_state
        teacher = trainer.accelerator.unwrap_model(trainer.teacher_model)

        def generating(*given: Any, **named: Any) -> Any:
            found = self._spend("generate", generate, *given, **named)
            self._seconds["generate"] -= self._seconds.get("sync", 0.0)
            self._lengths = [len(ids) for ids in found]
            return found

        def scoring(model: Any, *given: Any, **named: Any) -> Any:
            if model is not teacher:
                return score(model, *given, **named)
            return self._spend("score", score, model, *given, **named)

        trainer._generate_single_turn, trainer._get_last_hidden_state = generating, scoring
        if trainer.use_vllm:
            trainer.vllm_generation.generation_kwargs = {"stop_token_ids": self._stop_ids}
            sync = trainer.vllm_generation.sync_weights
            trainer.vllm_generation.sync_weights = lambda: self._spend("sync", sync)

    def _spend(self, phase: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        # What is still under way is not this phase's.
        process.synchronize()
        began = time.perf_counter()
        found = work(*given, **named)
        process.synchronize()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - began
        return found

    def wait(self) -> None:
        """Before a step of the trainer's own thread."""
        self._go.acquire()

    def tell(self) -> None:
        """After it."""
        process.synchronize()
        self._done.release()


def _prepare_environment(device: str) -> None:
    """What has to be known before CUDA and vLLM are asked anything.

    It refuses to train on several GPUs without being launched for that, so it sees one alone; its
    vLLM runs on what ours runs on, and reports to nobody.
    """
    number = int(device.partition(":")[2] or 0)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[number] if seen else str(number)
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _ids(texts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
    return [[int(token) for token in text.split()] for text in texts], None, {}


def _gate(arm: Trl) -> Any:
    from transformers import TrainerCallback

    class Gate(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            arm.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            arm.tell()

    return Gate()


def _padded(rows: list[tuple[int, ...]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    for row, found, kept in zip(rows, ids, mask, strict=True):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        found[place], kept[place] = torch.tensor(row), 1
    return ids, mask
