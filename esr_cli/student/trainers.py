"""A student whose weights are sharded over several ranks, with the interface of `Student`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model

from esr_cli.base.files import CheckpointError
from esr_cli.config import ConfigError, TuneConfig
from esr_cli.execution.packing import pack, unpack
from esr_cli.execution.restarting import RestartingWorker, WorkerError
from esr_cli.execution.team import Team
from esr_cli.models import lora
from esr_cli.student import checkpoint
from esr_cli.student.checkpoint import Tensors
from esr_cli.student.sides import Heads
from esr_cli.student.student import Update, WeightsError
from esr_cli.student.tuning import ADAPTER, lora_config
from esr_cli.types import HiddenScores, Rollout, Scores, ScoresByTeacher, StepScores


class Trainers(Team):
    """Ranks as workers, each built as a `Rank`; this process holds no weights of them.

    `outline` makes the model without weights, for its files. With `in_shards` each rank writes its
    part of a checkpoint. Any method raises `TeamError` if a rank died.
    """

    def __init__(
        self, workers: list[RestartingWorker], outline: Callable[[], Any], tune: TuneConfig,
        total_steps: int, dtype: torch.dtype, in_shards: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(workers)
        self.in_shards = in_shards
        self._outline, self._tune = outline, tune
        self.total_steps, self.dtype, self.splits = total_steps, dtype, True
        self._handed, self._wire_mib = Tensors(), 0.0

    def join(self, heads: Heads) -> None:
        """Has all ranks join and load their shards."""
        host, port = self.each("open", [(at == 0,) for at in range(len(self.members))])
        size, shared = len(self.members), self.members[0].shared(heads)
        ways = [(host, port, rank, size, shared) for rank in range(size)]
        self.splits = self.each("join", ways)
        super().take_wire_mib()

    def update(self, rollouts: list[Rollout], scores: StepScores, step: int) -> Update:
        """See `Student.update`; all ranks get all rollouts and scores."""
        scores = _on_host(scores)
        found = self.all("update", rollouts, self.members[0].shared(scores), step)
        if isinstance(found, str):
            raise WeightsError(found)
        peak_gib = max(self.every("peak_gib"))
        return replace(found, metrics=found.metrics | {"memory/rank_peak_gib": peak_gib})

    def check_weights(self, when: str) -> None:
        """See `Student.check_weights`."""
        if fault := self.all("check_weights", when):
            raise WeightsError(fault)

    def weights(self) -> Tensors:
        """See `Student.weights`: in memory of the host, always the same if that can be shared."""
        if self._handed and self.members[0].shares_memory:
            self.all("hand_over")
        else:
            self._handed = self.all("weights")
        return self._handed

    def tensors(self) -> Tensors:
        """See `Student.tensors`."""
        return self._besides("tensors")

    def writer(self) -> checkpoint.Writer:
        """See `Student.writer`."""
        return self._write_shards if self.in_shards else checkpoint.whole(self.tensors())

    def restore(self, folder: Path) -> None:
        """See `Student.restore`. Only this process needs to see a folder of whole tensors."""
        whole = checkpoint.is_whole(folder)
        if not whole:
            self.need_folder(folder.parent.parent)
        if self.members[0].shares_memory or not whole:
            self.all("restore", folder.absolute())
        else:
            packed = self.members[0].shared(pack(checkpoint.read_tensors(folder)))
            self._besides("load_tensors", folder, packed)

    def need_folder(self, folder: Path) -> None:
        """Raises `ConfigError` unless all ranks see the run folder, to write and to read there."""
        marks = folder.absolute() / ".trial"
        shutil.rmtree(marks, ignore_errors=True)
        marks.mkdir()
        try:
            left = self.every("leave_mark", marks)
            lost = [name for name in left if not (marks / name).exists()]
        finally:
            shutil.rmtree(marks)
        if lost:
            raise ConfigError(
                f"run_dir={folder}: a trainer on {lost[0].rpartition('-')[0]} does not see it, and "
                "each writes its part of a checkpoint there; name a folder that all machines "
                "share, or raise execution.whole_gib"
            )

    def save(self, folder: Path, tokenizer: Any, weights: bool = True) -> None:
        """See `Student.save`."""
        tensors = self._besides("complete") if weights else {}
        self._outline().save_pretrained(folder, state_dict=tensors)
        tokenizer.save_pretrained(folder)

    def save_adapter(self, folder: Path) -> None:
        """See `Student.save_adapter`."""
        tune = self._tune
        config = lora_config(tune.rank, tune.alpha, tune.targets, tune.dropout)
        factors = self._besides("factors")
        # peft looks for its own names, in which the adapter has a name of its own.
        named = {
            name.replace(side, side.replace(".weight", f".{ADAPTER}.weight")): factor
            for name, factor in factors.items()
            for side in (lora.A, lora.B)
            if name.endswith(side)
        }
        adapted = get_peft_model(self._outline(), config)
        adapted.save_pretrained(str(folder), state_dict=named)

    def take_wire_mib(self) -> float:
        """The MiB of tensors to and from the ranks in steps since the last call."""
        kept, self._wire_mib = self._wire_mib, 0.0
        return kept + super().take_wire_mib()

    def close(self) -> None:
        """Ends the ranks, together if all are idle."""
        if all(worker.ready for worker in self.members):
            with suppress(WorkerError):
                self.all("leave")
        super().close()

    def _write_shards(self, folder: Path) -> dict[str, int]:
        """Has each rank write its part into a folder; returns the checksum of each file."""
        found = self.every("write_shards", folder.absolute())
        if isinstance(found[0], str):
            raise CheckpointError(found[0])
        return {name: value for each in found for name, value in each.items()}

    def _besides(self, method: str, *arguments: Any) -> Any:
        """A call that is not part of a step, so that its bytes do not count as those of one."""
        self._wire_mib += super().take_wire_mib()
        found = unpack(self.all(method, *arguments))
        super().take_wire_mib()
        return found


def _on_host(scores: StepScores) -> StepScores:
    """The scores in memory that any process may read."""
    if isinstance(scores, ScoresByTeacher):
        parts = {name: _part_on_host(part) for name, part in scores.parts.items()}
        return replace(scores, parts=parts)
    return _part_on_host(scores)


def _part_on_host(scores: Scores) -> Scores:
    aligned_R = None if scores.aligned_R is None else scores.aligned_R.cpu()
    if isinstance(scores, HiddenScores):
        return replace(scores, hidden_RD=scores.hidden_RD.cpu(), aligned_R=aligned_R)
    return replace(scores, logits_RV=scores.logits_RV.cpu(), aligned_R=aligned_R)
