"""`esr compare`: paired differences of models, or of trainings over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from esr_cli.base.seeds import (
    FEW_SEEDS,
    Estimate,
    added,
    estimate,
    keys_of_all,
    over_seeds,
    seed_error,
)
from esr_cli.base.statistics import mean_difference, mean_interval, paired
from esr_cli.base.words import counted
from esr_cli.compare.labels import labels
from esr_cli.compare.sides import Side, read_side
from esr_cli.compare.table import RENDER, Block, Comparison, Line
from esr_cli.config import CompareConfig, ConfigError

ONE_RUN = (
    "one run each: an interval covers other questions and no other seeds. It compares these "
    "models, not ways of training; for that, give folders with a run per seed"
)
UNPAIRED = "{label} shares no {unit} with {baseline}: their runs are compared as independent ones"


def run(config: CompareConfig, overrides: list[str]) -> None:
    """Prints the accuracy of each side and its difference to the baseline on each benchmark that
    all have; raises `ConfigError` if there is none.
    """
    if config.runs:
        folders = joined(config.runs)
        sides = [read_side("runs", each, config.step) for each in folders]
        names, base = labels(folders, sides), _baseline(config.baseline, folders)
        keys = ["runs"] * len(folders)
    else:
        folders, keys, base = [config.a, config.b], ["a", "b"], 0
        steps = (config.step if own is None else own for own in (config.a_step, config.b_step))
        sides = [read_side(*each) for each in zip(keys, folders, steps, strict=True)]
        names = ["a", "b"]
    shared = _shared([f"{key}={each}" for key, each in zip(keys, folders, strict=True)], sides)
    common = {name: _common(name, sides) for name in shared}
    if not any(common.values()):
        raise ConfigError(f"{keys[-1]}={folders[-1]}: no question that all of them answered; "
                          "evaluate them on the same questions")  # fmt: skip
    blocks = tuple(_block(name, sides, names, base, ids) for name, ids in common.items() if ids)
    warnings = [each for name in shared for each in _warnings(name, sides)]
    remarks = [f"warning: {each}" for each in warnings]
    remarks += [f"note: {each}" for each in _notes(sides, names, base)]
    if not config.runs:
        remarks = [f"{key} = {each}" for key, each in zip(keys, folders, strict=True)] + remarks
    unit = f"{sides[0].unit}" if sides[0].sweep else ""
    compared = Comparison(blocks, names[base], unit, tuple(remarks))
    print(RENDER[config.format](compared), end="")


def joined(pieces: Sequence[str]) -> list[str]:
    """The folders of a list. A folder's name may hold commas, which also separate the list, so
    neighbours are joined as long as that gives a folder; raises `ConfigError` if one is none, or
    if there are fewer than two.
    """
    found: list[str] = []
    rest = [str(each) for each in pieces]
    while rest:
        ways = [",".join(rest[:count]) for count in range(1, len(rest) + 1)]
        folders = [count for count, each in enumerate(ways, 1) if Path(each).is_dir()]
        if not folders:
            raise ConfigError(f"runs={rest[0]}: no such folder; name runs, or folders of runs")
        found.append(ways[folders[-1] - 1])
        rest = rest[folders[-1] :]
    if len(found) < 2:
        raise ConfigError(f"runs={found[0]}: is one; name two or more, runs=[A,B,…]")
    return found


def _baseline(wanted: str | None, folders: Sequence[str]) -> int:
    """The place of the baseline in the list: the folder as it is in `runs`, or its last part."""
    if wanted is None:
        return 0
    paths = [Path(each) for each in folders]
    found = [i for i, each in enumerate(paths) if each == Path(wanted)]
    found = found or [i for i, each in enumerate(paths) if each.name == wanted]
    if len(found) != 1:
        what = "is not one of runs" if not found else "is the name of several of runs"
        raise ConfigError(f"baseline={wanted}: {what}; give one of {', '.join(folders)}")
    return found[0]


def _shared(given: Sequence[str], sides: Sequence[Side]) -> list[str]:
    """The benchmarks that all sides have; `given` are the sides as they were typed."""
    sweep = sides[0].sweep
    for name, side in zip(given[1:], sides[1:], strict=True):
        if side.sweep != sweep:
            many, one = (given[0], name) if sweep else (name, given[0])
            raise ConfigError(
                f"{one}: is one run, and {many} holds runs of several seeds; give folders of runs, "
                "or single runs"
            )
        if side.unit != sides[0].unit:
            raise ConfigError(
                f"{name}: holds runs over {side.unit}s, and {given[0]} over {sides[0].unit}s; "
                "compare populations, or sweeps over seeds"
            )
    for name, side in zip(given, sides, strict=True):
        if sweep and len(side.by_seed) < 2:
            raise ConfigError(
                f"{name}: holds complete runs of one {side.unit}; train two or more, or name "
                "single runs"
            )
    shared = [each for each in sides[0].benchmarks if all(each in s.benchmarks for s in sides)]
    if not shared:
        other = next(
            i
            for i, side in enumerate(sides)
            if not set(side.benchmarks) & set(sides[0].benchmarks) or i == len(sides) - 1
        )
        raise ConfigError(
            f"{given[other]}: has {', '.join(sides[other].benchmarks)}, and {given[0]} has "
            f"{', '.join(sides[0].benchmarks)}; evaluate all on the same benchmark"
        )
    return shared


def _common(name: str, sides: Sequence[Side]) -> list[str]:
    """The questions of a benchmark that every run of every side answered."""
    return keys_of_all([each[name].by_id for side in sides for each in side.by_seed.values()])


def _block(
    name: str, sides: Sequence[Side], names: Sequence[str], base: int, ids: Sequence[str]
) -> Block:
    lines = []
    for index, (side, label) in enumerate(zip(sides, names, strict=True)):
        samples = sum(each[name].samples for each in side.by_seed.values())
        accuracy = over_seeds(_rows(side, name, ids), partial(mean_interval, samples=samples))
        found, units = None, str(len(side.by_seed))
        if index != base:
            found, units = _difference(sides[base], side, name, ids)
        verdict = _verdict(found, side.sweep) if found else ""
        costs = (fmean(each) if each else None for each in (side.tokens, side.seconds))
        lines.append(Line(label, units, accuracy, found, verdict, *costs))
    return Block(name, len(ids), tuple(lines))


def _rows(side: Side, name: str, ids: Sequence[str]) -> list[list[float]]:
    """The accuracy on each question, a row for each seed or student."""
    return [[each[name].by_id[key] for key in ids] for each in side.by_seed.values()]


def _difference(a: Side, b: Side, name: str, ids: Sequence[str]) -> tuple[Estimate, str]:
    """b - a, and the number of seeds in words: two models as they are, or two trainings with seeds
    as the unit, paired if they share two or more.
    """
    rows_a, rows_b = _rows(a, name, ids), _rows(b, name, ids)
    if not a.sweep:
        return Estimate(*paired(rows_a[0], rows_b[0])), "1"
    both = [seed for seed in a.by_seed if seed in b.by_seed]
    if len(both) < 2:
        return _independent(rows_a, rows_b), str(len(rows_b))
    at_a, at_b = list(a.by_seed), list(b.by_seed)
    pairs = [(rows_b[at_b.index(seed)], rows_a[at_a.index(seed)]) for seed in both]
    gaps = [[x - y for x, y in zip(*pair, strict=True)] for pair in pairs]
    return over_seeds(gaps, mean_difference), str(len(both))


def _independent(rows_a: list[list[float]], rows_b: list[list[float]]) -> Estimate:
    """b - a of runs with different seeds on the same questions, by Welch's t."""
    means_a, means_b = ([_mean(column) for column in zip(*rows, strict=True)]
                        for rows in (rows_a, rows_b))  # fmt: skip
    mean, low, high = paired(means_a, means_b)
    error, df = added([seed_error(list(map(_mean, rows))) for rows in (rows_a, rows_b)])
    return estimate(mean, mean - low, high - mean, error, df)


def _verdict(found: Estimate, sweep: bool) -> str:
    """One seed never makes a training better: then it is the model that answers better."""
    if found.low <= 0 <= found.high:
        return "within noise"
    return f"{'is' if sweep else 'answers'} {'better' if found.value > 0 else 'worse'}"


def _warnings(name: str, sides: Sequence[Side]) -> list[str]:
    found = []
    runs = [each[name].by_id for side in sides for each in side.by_seed.values()]
    asked = {key for each in runs for key in each}
    if unpaired := sum(any(key not in each for each in runs) for key in asked):
        two = len(sides) == 2 and not sides[0].sweep
        whom = "only one of the two" if two else "some of the runs"
        found.append(f"{name}: {counted(unpaired, 'question')} answered by {whom}; ignored")
    if len({side.single[name].settings for side in sides}) > 1:
        found.append(
            f"{name}: evaluated with different wording, sampling or budget; not comparable"
        )
    return found


def _notes(sides: Sequence[Side], names: Sequence[str], base: int) -> list[str]:
    if not sides[0].sweep:
        return [ONE_RUN] if any(side.trained for side in sides) else []
    notes = [f"{counted(side.ignored, 'run')} of {name} not complete; ignored"
             for side, name in zip(sides, names, strict=True) if side.ignored]  # fmt: skip
    fewest = math.inf
    for side, name in zip(sides, names, strict=True):
        both = side.by_seed.keys() & sides[base].by_seed.keys()
        if len(both) < 2:
            notes.append(UNPAIRED.format(label=name, unit=side.unit, baseline=names[base]))
        elif alone := sorted(map(str, side.by_seed.keys() ^ sides[base].by_seed.keys())):
            pair = f"of {name} and {names[base]}"
            notes.append(f"{side.unit}s that one {pair} alone has are ignored in their difference: "
                         f"{', '.join(alone)}")  # fmt: skip
        fewest = min(fewest, len(both) if len(both) > 1 else len(side.by_seed))
    return [*notes, FEW_SEEDS] if fewest <= 3 else notes


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
