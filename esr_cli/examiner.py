"""The benchmarks of a training run: checked before it starts, asked whenever it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from esr_cli import benchmarks, preflight
from esr_cli.config import TrainConfig
from esr_cli.evaluation import Evaluation, judge, respond, sampling_of
from esr_cli.types import Engine


class Examiner:
    """Asks every benchmark through the engine that the run already holds.

    Raises `ConfigError` where a benchmark's data, sandbox or room is missing.
    """

    def __init__(self, config: TrainConfig, tokenizer: Any, warn: Callable[[str], None]) -> None:
        self._seed, self._tokenizer = config.seed, tokenizer
        self._chosen = [
            benchmarks.load(name, settings, config.data_dir, config.limit)
            for name, settings in config.benchmark.items()
        ]
        self._prompts = {each.name: preflight.prompts_of(each, tokenizer) for each in self._chosen}
        context = config.pair.context_tokens
        preflight.check_room(self._chosen, self._prompts, context, "pair.context_tokens")
        self._stop_ids = {
            each.name: preflight.stop_ids(config.pair.student, tokenizer, each.config.stop_tokens)
            for each in self._chosen
        }
        self._graders = {
            each.name: benchmarks.grader(each.config, config.sandbox, warn) for each in self._chosen
        }

    def __call__(self, engine: Engine, step: int) -> list[Evaluation]:
        """One evaluation a benchmark, of the weights that the engine holds."""
        return [self._ask(each, engine, step) for each in self._chosen]

    def _ask(self, each: benchmarks.Benchmark, engine: Engine, step: int) -> Evaluation:
        sampling = sampling_of(each, self._stop_ids[each.name], self._seed, step)
        responses = respond(engine, self._prompts[each.name], sampling, self._tokenizer)
        return judge(each, self._graders[each.name], responses, step)

    def close(self) -> None:
        """Ends the graders' processes."""
        for grader in self._graders.values():
            grader.close()
