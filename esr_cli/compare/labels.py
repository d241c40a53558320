"""Names of the runs of a comparison, by what differs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esr_cli.compare.sides import Side
from esr_cli.runs.settings import IGNORED, flat, in_words, of_condition, under

LENGTH = "rollout.max_tokens"
LONGEST = "pair.max_response_tokens"


def labels(folders: Sequence[str], sides: Sequence[Side]) -> list[str]:
    """A label for each side: the settings that not all trainings have, or the name of its folder.

    Sides of single runs may also differ in the seed.
    """
    flats = [flat(of_condition(side.settings[0])) if side.settings else {} for side in sides]
    known = [each for each in flats if each]
    seeded = not any(side.sweep for side in sides)
    keys = [key for key in (known[0] if known else {})
            if all(key in each for each in known) and _counts(key, seeded)
            and any(each[key] != known[0][key] for each in known)]  # fmt: skip
    names = [_name(folder, folders) for folder in folders]
    found = [
        ", ".join(_words(key, each) for key in keys) if each and keys else name
        for name, each in zip(names, flats, strict=True)
    ]
    count = Counter(found)
    return [
        label if count[label] == 1 or label == name else f"{label} ({name})"
        for label, name in zip(found, names, strict=True)
    ]


def _counts(key: str, seeded: bool) -> bool:
    return (seeded and key == "seed") or not under(key, IGNORED)


def _words(key: str, settings: dict[str, Any]) -> str:
    value = settings[key]
    if key != LENGTH:
        return in_words(key.split(".")[-1], value)
    longest = str(settings.get(LONGEST))
    tokens, most = (int(each) if each.isdecimal() else None for each in (str(value), longest))
    full = str(value) == "full" or (tokens is not None and most is not None and tokens >= most)
    return "full rollouts" if full else f"N={value}"


def _name(folder: str, folders: Sequence[str]) -> str:
    """The last part of a folder's path, or the whole path if another has the same last part."""
    name = Path(folder).name or folder
    return name if sum(Path(each).name == name for each in folders) == 1 else folder
