"""Settings of `esr reproduce`, and the matrix of commands at one scale."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choices, one_of

# The setting `list` below shadows the built-in type in annotations.
Texts = list[str]
Numbers = list[int]
SCALES = ("auto", "lab", "real", "paper", "audit", "paper_audit", "mixture")


@dataclass
class ReproduceConfig:
    """`scale` is `lab`, `paper`, or `auto` (paper if a large enough GPU is available). `real` is a
    pretrained model of 135M parameters on a CPU (docs/real.md). `audit` turns points of the
    authors' recipe in the lab, `paper_audit` with the paper's pairs (docs/audit.md), and `mixture`
    compares mixtures of lengths over many lab students (docs/mixture.md).

    `only` selects tables and figures by name. `list` prints them with their state and runs nothing.
    `quick` runs a smaller matrix with one seed and small populations. `seeds` replaces the seeds of
    the matrix, and `students` the size of its populations of lab students, if it has any. `jobs` is
    the number of parallel jobs (null: that of the matrix). `overrides` are passed to every training
    run. If `run_dir` is null, esr chooses the folder.
    """

    scale: str = one_of(SCALES)
    only: Texts = field(default_factory=Texts)
    list: bool = False
    quick: bool = False
    seeds: Numbers | None = None
    students: int | None = None
    jobs: int | None = None
    overrides: Texts = field(default_factory=Texts)
    data_dir: str | None = None
    run_dir: str | None = None

    def __post_init__(self) -> None:
        need_choices(self)
        need(self.jobs is None or self.jobs > 0, "jobs", self.jobs, "give 1 or more")
        students = self.students
        need(students is None or students > 1, "students", students, "give 2 or more")
        good = self.seeds is None or (bool(self.seeds) and min(self.seeds) >= 0)
        need(good, "seeds", self.seeds, "give one or more, each 0 or more")


@dataclass
class CellConfig:
    """One `esr COMMAND` of the matrix, by default `train`; runs once per seed, or once if `once`.

    A `lab` cell with `students` makes a population; a cell `over` that cell runs once per student
    (and seed), with the pair of that student.

    `given` are its overrides, in which `{out}`, `{seed}`, for a cell over a population `{student}`
    and `{population}` (its folder), and for commands that measure a run `{run}` are replaced. `of`
    names the cells whose runs it measures, `needs` the cells that must finish first. If `alone`, no
    other job runs at the same time, as timings require. `seconds` is the expected duration, `gib`
    the required GPU memory.
    """

    given: Texts = field(default_factory=Texts)
    command: str = "train"
    of: Texts = field(default_factory=Texts)
    needs: Texts = field(default_factory=Texts)
    students: int = 0
    over: str = ""
    once: bool = False
    alone: bool = False
    seeds: Numbers | None = None
    seconds: float = 0.0
    gib: float = 0.0


@dataclass
class ItemConfig:
    """A table or figure of the paper, and the cells that supply its data."""

    title: str = ""
    cells: Texts = field(default_factory=Texts)


@dataclass
class QuickConfig:
    """The part of the matrix that `quick=true` runs, with `students` in each population."""

    students: int = 2
    seeds: Numbers = field(default_factory=Numbers)
    cells: Texts = field(default_factory=Texts)


@dataclass
class MatrixConfig:
    """The paper at one scale: cells, and the items built from them; see conf/experiment/paper.

    `every` are the overrides of each training run, `timed` those of the cells that run `alone`.
    `title` heads the report. `shown` holds the values that `list=true` prints for settings that a
    cell does not set. `jobs` cells run in parallel with `threads` threads each (null: all threads).
    """

    about: str = ""
    title: str = ""
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
            for other in (*each.of, *each.needs, *([each.over] if each.over else [])):
                need(other in self.cells, f"cells.{name}", other, "no such cell")
            population = not each.over or self.cells[each.over].students > 1
            need(population, f"cells.{name}.over", each.over, "that cell makes no population")
            makes = each.command == "lab" and each.once
            need(makes or not each.students, f"cells.{name}.students", each.students,
                 "a population is made by command: lab, once: true")  # fmt: skip
            # Its students have the seeds that the default teacher leaves (config/lab.py).
            named = any(text.startswith("teacher_seed") for text in each.given)
            need(not (each.students and named), f"cells.{name}.given", "teacher_seed", "drop it")
        for cell in self.quick.cells:
            need(cell in self.cells, "quick.cells", cell, "no such cell")
