"""`esr compare`: the paired difference of two models, or of two trainings over their seeds."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from esr_cli.base.reading import printable
from esr_cli.base.seeds import FEW_SEEDS, Estimate, added, estimate, over_seeds, seed_error
from esr_cli.base.statistics import mean_difference, paired
from esr_cli.base.words import counted
from esr_cli.compare.sides import Scores, Side, read_side
from esr_cli.config import CompareConfig, ConfigError

ONE_RUN = (
    "one run a side: the interval covers other questions and no other seeds. It compares these two "
    "models, not two ways of training; for that, give folders with a run per seed"
)
UNPAIRED = "the sides share no {unit}: their runs are compared as independent ones"


def run(config: CompareConfig, overrides: list[str]) -> None:
    """Prints b - a for each shared benchmark; raises `ConfigError` if there is none."""
    a, b = read_side("a", config.a, config.a_step), read_side("b", config.b, config.b_step)
    shared = _shared(config, a, b)
    table = Table(title=f"b = {config.b}\na = {config.a}", title_justify="left")
    of_seeds = (f"{a.unit}s",) if a.sweep else ()
    for heading in ("benchmark", "n", *of_seeds, "a", "b", "b - a, 95 % interval", "verdict"):
        table.add_column(heading, no_wrap=True)
    warnings = []
    for name in shared:
        row = _over_seeds(name, a, b) if a.sweep else _models(a.single[name], b.single[name])
        table.add_row(printable(name), *row)
        warnings += _warnings(printable(name), a, b, name)
    Console(markup=False, highlight=False, width=max(100, Console().width)).print(table)
    for warning in warnings:
        print(f"warning: {warning}")
    for note in _notes(a, b):
        print(f"note: {note}")


def _shared(config: CompareConfig, a: Side, b: Side) -> list[str]:
    if a.sweep != b.sweep:
        many, one = ("a", "b") if a.sweep else ("b", "a")
        raise ConfigError(
            f"{one}={getattr(config, one)}: is one run, and {many}={getattr(config, many)} holds "
            "runs of several seeds; give two folders of runs, or two runs"
        )
    if a.unit != b.unit:
        raise ConfigError(
            f"b={config.b}: holds runs over {b.unit}s, and a={config.a} over {a.unit}s; compare "
            "two populations, or two sweeps over seeds"
        )
    if a.sweep and min(len(a.by_seed), len(b.by_seed)) < 2:
        key = "a" if len(a.by_seed) < 2 else "b"
        raise ConfigError(
            f"{key}={getattr(config, key)}: holds complete runs of one {a.unit}; train two or "
            "more, or name two single runs"
        )
    shared = [name for name in a.benchmarks if name in b.benchmarks]
    if not shared:
        raise ConfigError(
            f"b={config.b}: has {', '.join(b.benchmarks)}, and a={config.a} has "
            f"{', '.join(a.benchmarks)}; evaluate both on the same benchmark"
        )
    return shared


def _models(a: Scores, b: Scores) -> tuple[str, ...]:
    """The difference of two models as they are."""
    ids = [name for name in a.by_id if name in b.by_id]
    if not ids:
        return "0", "", "", "", "no question in common"
    scores_a, scores_b = [a.by_id[name] for name in ids], [b.by_id[name] for name in ids]
    found = Estimate(*paired(scores_a, scores_b))
    verdict = _verdict(found, "answers better")
    return (
        str(len(ids)),
        f"{_mean(scores_a):.3f}",
        f"{_mean(scores_b):.3f}",
        _text(found),
        verdict,
    )


def _over_seeds(name: str, a: Side, b: Side) -> tuple[str, ...]:
    """The difference of two trainings, with seeds as the unit."""
    sides = [[each[name].by_id for each in side.by_seed.values()] for side in (a, b)]
    ids = [key for key in sides[0][0] if all(key in each for side in sides for each in side)]
    if not ids:
        return "0", "", "", "", "", "no question in common"
    rows_a, rows_b = ([[each[key] for key in ids] for each in side] for side in sides)
    both = [seed for seed in a.by_seed if seed in b.by_seed]
    if len(both) > 1:
        at_a, at_b = list(a.by_seed), list(b.by_seed)
        rows_a = [rows_a[at_a.index(seed)] for seed in both]
        rows_b = [rows_b[at_b.index(seed)] for seed in both]
        found = over_seeds(list(map(_minus, rows_b, rows_a)), mean_difference)
        seeds = str(len(both))
    else:
        found, seeds = _independent(rows_a, rows_b), f"{len(rows_a)} and {len(rows_b)}"
    means = [_mean(list(map(_mean, rows))) for rows in (rows_a, rows_b)]
    return (str(len(ids)), seeds, *(f"{mean:.3f}" for mean in means), _text(found),
            _verdict(found, "is better"))  # fmt: skip


def _independent(rows_a: list[list[float]], rows_b: list[list[float]]) -> Estimate:
    """b - a of runs with different seeds on the same questions, by Welch's t."""
    means_a, means_b = ([_mean(list(column)) for column in zip(*rows, strict=True)]
                        for rows in (rows_a, rows_b))  # fmt: skip
    mean, low, high = paired(means_a, means_b)
    error, df = added([seed_error(list(map(_mean, rows))) for rows in (rows_a, rows_b)])
    return estimate(mean, mean - low, high - mean, error, df)


def _verdict(found: Estimate, words: str) -> str:
    if found.low <= 0 <= found.high:
        return "within noise"
    return f"{'b' if found.value > 0 else 'a'} {words}"


def _text(found: Estimate) -> str:
    low, high = max(-1.0, found.low), min(1.0, found.high)
    return f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _warnings(title: str, a: Side, b: Side, name: str) -> list[str]:
    found = []
    runs = [each[name].by_id for side in (a, b) for each in side.by_seed.values()]
    asked = {key for each in runs for key in each}
    if unpaired := sum(any(key not in each for each in runs) for key in asked):
        whom = "some of the runs" if a.sweep else "only one of the two"
        found.append(f"{title}: {counted(unpaired, 'question')} answered by {whom}; ignored")
    if a.single[name].settings != b.single[name].settings:
        found.append(
            f"{title}: evaluated with different wording, sampling or budget; not comparable"
        )
    return found


def _notes(a: Side, b: Side) -> list[str]:
    if not a.sweep:
        return [ONE_RUN] if a.trained or b.trained else []
    notes = [f"{counted(side.ignored, 'run')} of {key} not complete; ignored"
             for key, side in (("a", a), ("b", b)) if side.ignored]  # fmt: skip
    both = a.by_seed.keys() & b.by_seed.keys()
    if len(both) < 2:
        notes.append(UNPAIRED.format(unit=a.unit))
    elif alone := sorted(map(str, a.by_seed.keys() ^ b.by_seed.keys())):
        notes.append(f"{a.unit}s that one side alone has are ignored: {', '.join(alone)}")
    fewest = len(both) if len(both) > 1 else min(len(a.by_seed), len(b.by_seed))
    return [*notes, FEW_SEEDS] if fewest <= 3 else notes


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _minus(a: list[float], b: list[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]
