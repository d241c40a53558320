"""TRL's `DistillationTrainer` as a configuration of a bench, with our settings, step by step.

The trainer itself runs in a thread, which waits before each step until one is requested. Its
prompts are our token ids. A step begins and ends for our clock where it does for the trainer's.
It samples one response to each prompt of its batch and has no setting for more. With
`rollouts_per_prompt` its data set therefore has each prompt as many times in a row, and its batch
has all of them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.base import process
from esr_cli.bench.prompts import bench_task
from esr_cli.config import TrainConfig
from esr_cli.models import loading
from esr_cli.student import tuning
from esr_cli.types import Rollout


class Trl:
    """TRL with colocated vLLM, or with generation by transformers.

    `steps` is the number of steps to be requested; the trainer writes into `folder`. With
    `prompt_tokens` all prompts have that many tokens. Raises what TRL raises if it cannot run with
    these models or this engine.
    """

    def __init__(
        self, config: TrainConfig, folder: str, steps: int, vllm: bool,
        prompt_tokens: int | None = None,
    ) -> None:  # fmt: skip
        self.config, self._seconds = config, dict[str, float]()
        _prepare_environment(config.execution.device)
        self._step_requested, self._step_finished = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._lengths: list[int] = []
        pair = config.pair
        tokenizers = [
            loading.load_tokenizer(each.path, each.revision, each.trust_remote_code)
            for each in (pair.student, pair.teacher)
        ]
        self._stop_ids = list(resolve_pairing(pair, *tokenizers).stop_ids)
        task = bench_task(config, tokenizers, prompt_tokens)
        batches = [task.train(step, config.prompts_per_step) for step in range(steps)]
        self._trainer = self._make(
            [
                each.student_ids
                for batch in batches
                for each in batch
                for _ in range(config.rollouts_per_prompt)
            ],
            tokenizers[0],
            folder,
            steps,
            vllm,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def loss(self, rollouts: list[Rollout]) -> float:
        """Its loss on our completions; call it before its first step."""
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

    def step(self, number: int, tokens: int, measure_memory: bool = False) -> dict[str, Any]:
        """Takes one step of at most `tokens` per response; returns as `Ours.step`, less floors."""
        if not self._thread.is_alive():
            self._thread.start()
        trainer = self._trainer
        trainer.generation_config.max_new_tokens = trainer.max_completion_length = tokens
        if trainer.use_vllm:
            trainer.vllm_generation.max_completion_length = tokens
        self._seconds.clear()
        if measure_memory:
            process.reset_peak()
        start = time.perf_counter()
        self._step_requested.release()
        self._step_finished.acquire()
        if self._error:
            raise self._error
        assert "generate" in self._seconds, "trl's trainer ended without taking a step"
        spent = {"step": time.perf_counter() - start, **self._seconds}
        spent["train"] = spent["step"] - sum(self._seconds.values())
        return {
            "seconds": spent, "gib": {"trainer": process.peak_gib()} if measure_memory else {},
            "tokens": sum(self._lengths), "longest": max(self._lengths),
        }  # fmt: skip

    def close(self) -> None:
        """Nothing to do: the daemon thread ends with the process."""

    def _run(self) -> None:
        try:
            self._trainer.train()
        except BaseException as error:
            self._error = error
        self._step_finished.release()

    def _make(
        self, prompts: list[tuple[int, ...]], tokenizer: Any, folder: str, steps: int, vllm: bool
    ) -> Any:
        from datasets import Dataset
        from trl import DistillationConfig, DistillationTrainer

        config, pair, tune = self.config, self.config.pair, self.config.tune
        device = loading.pick_device(config.execution.device).partition(":")[0]
        dtype = loading.pick_dtype(pair.dtype, device)
        settings = DistillationConfig(
            output_dir=folder, max_steps=steps,
            per_device_train_batch_size=config.prompts_per_step * config.rollouts_per_prompt,
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
        # Its own generation config may not stop at all of the pair's stop tokens.
        loaded[0].generation_config.eos_token_id = self._stop_ids
        lora = tune.method == "lora"
        adapters = tuning.lora_config(tune.rank, tune.alpha, tune.targets) if lora else None
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        trainer = DistillationTrainer(
            model=loaded[0], teacher_model=loaded[1], args=settings,
            train_dataset=Dataset.from_dict({"prompt": [" ".join(map(str, p)) for p in prompts]}),
            processing_class=tokenizer, peft_config=adapters, callbacks=[_step_callback(self)],
        )  # fmt: skip
        # The prompts are our token ids: no chat template is applied.
        vars(trainer)["_tokenize_prompts"] = _parse_ids
        self._add_timers(trainer)
        return trainer

    def _add_timers(self, trainer: Any) -> None:
        """Times generation, weight sync (with LoRA including merge and unmerge), and teacher."""
        generate, score = trainer._generate_single_turn, trainer._get_last_hidden_state
        teacher = trainer.accelerator.unwrap_model(trainer.teacher_model)

        def timed_generate(*args: Any, **kwargs: Any) -> Any:
            completions = self._timed("generate", generate, *args, **kwargs)
            self._seconds["generate"] -= self._seconds.get("sync", 0.0)
            self._lengths = [len(ids) for ids in completions]
            return completions

        def timed_score(model: Any, *args: Any, **kwargs: Any) -> Any:
            if model is not teacher:
                return score(model, *args, **kwargs)
            return self._timed("score", score, model, *args, **kwargs)

        trainer._generate_single_turn, trainer._get_last_hidden_state = timed_generate, timed_score
        if trainer.use_vllm:
            trainer.vllm_generation.generation_kwargs = {"stop_token_ids": self._stop_ids}
            sync = trainer.vllm_generation.sync_weights
            trainer.vllm_generation.sync_weights = lambda: self._timed("sync", sync)

    def _timed(self, phase: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Work still in flight does not belong to this phase.
        process.synchronize()
        start = time.perf_counter()
        result = function(*args, **kwargs)
        process.synchronize()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start
        return result

    def wait_for_request(self) -> None:
        """Blocks the trainer's thread before a step until `step` requests one."""
        self._step_requested.acquire()

    def finish_step(self) -> None:
        """Reports the end of a step to the thread that requested it."""
        process.synchronize()
        self._step_finished.release()


def _prepare_environment(device: str) -> None:
    """Sets environment variables that must be set before CUDA and vLLM initialize.

    TRL needs a launcher to train on several GPUs, so only one is made visible. Its vLLM uses the
    same model runner as ours and sends no usage statistics.
    """
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _parse_ids(texts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
    return [[int(token) for token in text.split()] for text in texts], None, {}


def _step_callback(peer: Trl) -> Any:
    from transformers import TrainerCallback

    class StepCallback(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            peer.wait_for_request()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            peer.finish_step()

    return StepCallback()


def _padded(rows: list[tuple[int, ...]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    for row, row_ids, row_mask in zip(rows, ids, mask, strict=True):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        row_ids[place], row_mask[place] = torch.tensor(row), 1
    return ids, mask
