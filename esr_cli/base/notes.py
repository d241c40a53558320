"""Lines of a process for the log of its run: a worker keeps them until the run asks for them."""

from __future__ import annotations

_kept: list[str] = []


def note(line: str) -> None:
    """Keeps a line."""
    _kept.append(line)


def take() -> list[str]:
    """The lines since the last call."""
    taken = list(_kept)
    _kept.clear()
    return taken
