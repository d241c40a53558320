"""Whether the workers of a run find their places: GPUs, cores, a cluster of Ray."""

from __future__ import annotations

from esr_cli.assembly import seats
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig) -> list[Finding]:
    """A line on where each worker computes, and one on Ray's cluster; or an error."""
    try:
        found = [seats.described(config), seats.check_places(config)]
    except ConfigError as error:
        each = f"; each of {len(config.pair.all_teachers)} models as teachers has its own worker"
        way = " (with execution.teacher=inline they share a device)"
        return [Finding("error", "workers", f"{error}{each + way if config.pair.teachers else ''}")]
    return [Finding("ok", "workers", line) for line in found if line]
