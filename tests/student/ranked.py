"""A rank for tests, which makes one student after the other. Its process imports this module."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from esr_cli.config import TuneConfig
from esr_cli.distill.divergence import Options
from esr_cli.distill.positions import Rule
from esr_cli.models import loading
from esr_cli.student import shards
from esr_cli.student.rank import Rank
from esr_cli.student.student import Objective, Student


@dataclass(frozen=True)
class Case:
    """A student: its model folder, how it is tuned, and the positions of its loss."""

    path: str
    tune: dict[str, Any]
    rule: Rule = field(default_factory=Rule)
    dtype: str = "float32"
    sends_adapter: bool = False
    steps: int = 10


def student_of(case: Case, heads: Any, ranks: Any = None) -> Student:
    """The student of a case: alone, or a rank's shard."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tune = TuneConfig(**{"learning_rate": 1e-4, "rank": 4, **case.tune})
    objective = Objective(Options(sampling_temperature=0.7, tile_tokens=8), case.rule)
    model = loading.load_model(case.path, case.dtype, "cpu")
    heads = {name: replace(h, weight_VD=h.weight_VD.to(model.dtype)) for name, h in heads.items()}
    return Student(model, heads, tune, objective, case.steps, case.sends_adapter, ranks)


class CaseRank(Rank):
    """A rank that can be told to make another student."""

    def __init__(self, case: Case) -> None:
        self.case = case
        super().__init__(self._made, "cpu", "127.0.0.1")

    def _made(self, heads: Any, ranks: Any) -> Student:
        self._heads, self._ranks = heads, ranks
        return student_of(self.case, heads, ranks)

    def write_small(self, folder: Path) -> dict[str, int]:
        """Writes the shards into files of about 50 kB."""
        return shards.write(folder, self._student.tensors(), 50_000)

    def remake(self, case: Case) -> None:
        """Makes the student of this case."""
        self._handed = {}
        self._student = student_of(case, self._heads, self._ranks)
