"""Whether the workers of a run find their places: GPUs, cores, a cluster of Ray."""

from __future__ import annotations

from esr_cli.assembly import seats
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig) -> list[Finding]:
    """An error if a worker has no place, and a line on the cluster that a run computes on."""
    try:
        found = seats.check_places(config)
    except ConfigError as error:
        return [Finding("error", "workers", str(error))]
    return [Finding("ok", "workers", found)] if found else []
