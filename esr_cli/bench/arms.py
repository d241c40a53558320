"""The configurations of a bench (*arms*) that are in memory at the same time, each in a process."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from esr_cli.bench.ours import Ours, on_engine
from esr_cli.bench.trl import Trl
from esr_cli.config import BenchConfig, TrainConfig
from esr_cli.execution.worker import ProcessWorker, WorkerError
from esr_cli.models import loading

PEER = "trl"
# Steps of an arm per turn. The first step of a turn starts with cold caches.
STEPS_PER_TURN = 2


class Arms:
    """The workers of some arms by name, started and idle; `stack` closes them.

    `ours` are the arms but for a peer. `base` are the training settings of all. A peer that fails
    is removed, so that our own measurements are not lost; if an engine's arm fails, `WorkerError`
    is raised.
    """

    def __init__(
        self, names: list[str], config: BenchConfig, base: TrainConfig, folder: Path,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self.workers: dict[str, ProcessWorker] = {}
        self._folder, self._stack = folder, stack
        for name in names:
            settings: dict[str, Any] = {
                "config": base, "folder": str(folder / "logs" / name),
                "prompt_tokens": config.prompt_tokens,
            }  # fmt: skip
            if name == PEER:
                lengths = len(config.rollout_lens)
                settings["steps"] = STEPS_PER_TURN * (config.warmup + config.repeats) * lengths
                settings["vllm"] = peer_uses_vllm(config)
                self._place(name, Trl, settings)
            else:
                self._place(name, Ours, settings | {"config": on_engine(base, name)})
        self.ours = [name for name in names if name != PEER]
        # Ours start in parallel. A peer's engine measures free memory, so it starts once they are
        # idle.
        for name in self.ours:
            self.workers[name].start()
        for name in names:
            print(f"starting {name}", flush=True)
            self.call(name, "peak_gib")
        # All workers are idle now; one that is starting would lower the ceilings.
        for name in self.ours:
            self.workers[name].call("measure_ceilings")

    def call(self, name: str, method: str, *args: Any) -> Any:
        """Calls the worker of an arm; None if it is a peer that fails or has failed."""
        if name not in self.workers:
            return None
        try:
            return self.workers[name].call(method, *args)
        except WorkerError as error:
            if name != PEER:
                raise
            failed = self.workers.pop(name)
            failed.close()
            with Path(str(failed.log)).open("a") as log:
                log.write(f"{error}\n{error.__cause__ or ''}\n")
            print(f"continuing without {name}: {str(error).splitlines()[-1]}", flush=True)
            return None

    def _place(self, name: str, kind: type, settings: dict[str, Any]) -> None:
        log = self._folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        worker = self.workers[name] = ProcessWorker(name, kind, settings, log=str(log))

        def close() -> None:
            if worker.ready:
                with suppress(WorkerError):  # the worker itself may have failed
                    worker.call("close")
            worker.close()

        self._stack.callback(close)


def peer_uses_vllm(config: BenchConfig) -> bool:
    """Whether the peer generates with vLLM; on a CPU vLLM packs weights, so none can be loaded."""
    return "vllm" in config.engines and loading.pick_device(config.execution.device) != "cpu"
