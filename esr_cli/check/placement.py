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
        return [Finding("error", "workers", str(error))]
    return [Finding("ok", "workers", line) for line in found if line]
