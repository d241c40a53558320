"""The teachers of a run: one model, or several, each of which scores the rows that name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from esr_cli.assembly import seats, teachers
from esr_cli.assembly.pairing import Pairing
from esr_cli.config import ConfigError, TrainConfig, teacher_key
from esr_cli.execution.scoring import Teachers, TeachersByName
from esr_cli.teacher.servers import Served


def each(config: TrainConfig) -> dict[str, TrainConfig]:
    """For each teacher, by name, the settings of a run that has no other.

    Servers tell which teacher they serve. Raises `ConfigError` if one serves none of them, or if a
    teacher has no server.
    """
    if not config.pair.teachers:
        return {"": config}
    found = {name: config.of_teacher(name) for name in config.pair.all_teachers}
    if config.teacher.engine != "server":
        return found
    urls: dict[str, list[str]] = {name: [] for name in found}
    for url, served in teachers.describe_servers(config).items():
        for name in _served(config, url, served):
            urls[name].append(url)
    for name, one in found.items():
        if not urls[name]:
            raise ConfigError(
                f"{teacher_key(name)}.path={one.pair.teacher.path}: none of teacher.urls serves it;"
                " add the address of one that does"
            )
        found[name] = replace(one, teacher=replace(one.teacher, urls=urls[name]))
    return found


def _served(config: TrainConfig, url: str, served: Served) -> list[str]:
    """The names of the teachers that a server serves: one model, perhaps with several prompts."""
    models, names = config.pair.all_teachers, {served.model, served.root}
    own = [name for name, model in models.items() if model.path in names]
    own = own or [name for name, model in models.items() if teachers.is_served(model, served)]
    if len({(models[name].path, models[name].revision) for name in own}) == 1:
        return own
    which = " or ".join(map(teacher_key, own)) or "none of the pair's teachers"
    raise ConfigError(
        f"teacher.urls={url}: serves {served.model}, which is {which}; start it with "
        "--served-model-name and the path of one"
    )


def place(
    config: TrainConfig, dtype: str, pairing: Pairing, folder: Path, warn: Callable[[str], None],
    canary: Path | None = None,
) -> Teachers | TeachersByName:  # fmt: skip
    """The teachers as workers, not started yet, see `teachers.place_teachers`.

    Of several models each has `execution.teachers` workers, or the servers that serve it.
    """
    layout = config.rollout, config.placed, config.teacher
    chosen = seats.of_teachers(*layout)
    early = config.teacher.engine == "server" or seats.apart(seats.of_engines(*layout), chosen)
    if not pairing.others:
        return teachers.place_teachers(
            config, dtype, pairing, folder, warn, chosen, canary, early=early
        )  # fmt: skip
    count, found = len(chosen) // len(config.pair.all_teachers) or 1, {}
    pairings = {"": pairing, **pairing.others}
    for at, (name, own) in enumerate(each(config).items()):
        # A client of servers needs no seat of its own.
        taken = chosen[at * count : (at + 1) * count] or chosen
        kept = canary and canary.with_stem(f"{canary.stem}_{name}" if name else canary.stem)
        found[name] = teachers.place_teachers(
            own, dtype, pairings[name], folder, warn, taken, kept, at * count, early
        )  # fmt: skip
    return TeachersByName(found)
