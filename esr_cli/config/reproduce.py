"""`esr reproduce`, and the matrix of what there is to reproduce at a scale."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice

# `list` is a setting below, and would stand in the way of the type.
Texts = list[str]
Numbers = list[int]


@dataclass
class ReproduceConfig:
    """`scale` is `lab`, `paper`, or `auto` (paper where a GPU of its size is there).

    `only` takes some tables and figures by name; `list` shows what there is and runs nothing;
    `quick` is a smaller matrix with one seed; `seeds` replaces the matrix's; `jobs` run side by
    side (null: the matrix's); `overrides` are given to every training run; `out` is chosen by esr
    when null.
    """

    scale: str = "auto"
    only: Texts = field(default_factory=Texts)
    list: bool = False
    quick: bool = False
    seeds: Numbers | None = None
    jobs: int | None = None
    overrides: Texts = field(default_factory=Texts)
    data_dir: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        need_choice("scale", self.scale, ("auto", "lab", "paper"))
        need(self.jobs is None or self.jobs > 0, "jobs", self.jobs, "give 1 or more")
        need(self.seeds is None or bool(self.seeds), "seeds", self.seeds, "give one or more")


@dataclass
class CellConfig:
    """One `esr COMMAND` of the matrix, once a seed unless `once`; training by default.

    `given` are its overrides, with `{out}`, `{seed}` and, in what measures a run, `{run}` filled
    in; `of` names the cells whose runs it measures, `needs` those that come before it; `alone` runs
    at a time when nothing else does, for timings. `seconds` is what it is expected to take, `gib`
    the memory of the GPU that it needs.
    """

    given: Texts = field(default_factory=Texts)
    command: str = "train"
    of: Texts = field(default_factory=Texts)
    needs: Texts = field(default_factory=Texts)
    once: bool = False
    alone: bool = False
    seeds: Numbers | None = None
    seconds: float = 0.0
    gib: float = 0.0


@dataclass
class ItemConfig:
    """A table or figure of the paper, and the cells that it is drawn from."""

    title: str = ""
    cells: Texts = field(default_factory=Texts)


@dataclass
class QuickConfig:
    """What of the matrix a quick look takes."""

    seeds: Numbers = field(default_factory=Numbers)
    cells: Texts = field(default_factory=Texts)


@dataclass
class MatrixConfig:
    """The paper at one scale: cells, and the items made of them; see conf/experiment/paper.

    `every` are the overrides of each training run, `timed` those of the runs that are `alone`,
    `shown` what `list=true` shows where a cell says
    nothing else; `jobs` run side by side with `threads` threads each (null: as many as there are).
    """

    about: str = ""
    every: Texts = field(default_factory=Texts)
    timed: Texts = field(default_factory=Texts)
    shown: dict[str, str] = field(default_factory=dict)
    seeds: Numbers = field(default_factory=Numbers)
    jobs: int = 1
    threads: int | None = None
    cells: dict[str, CellConfig] = field(default_factory=dict)
    items: dict[str, ItemConfig] = field(default_factory=dict)
    quick: QuickConfig = field(default_factory=QuickConfig)

    def __post_init__(self) -> None:
        for name, item in self.items.items():
            for cell in item.cells:
                need(cell in self.cells, f"items.{name}.cells", cell, "no such cell")
        for name, each in self.cells.items():
            for other in (*each.of, *each.needs):
                need(other in self.cells, f"cells.{name}", other, "no such cell")
        for cell in self.quick.cells:
            need(cell in self.cells, "quick.cells", cell, "no such cell")
