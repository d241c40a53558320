"""Settings of `esr env`, which prints the versions that esr was tested with."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need_choices, one_of

BUILDS = ("cpu", "cuda")


@dataclass
class EnvConfig:
    """Prints the versions that esr was tested with, as a constraints file of pip.

    With `build=cuda` the lines of torch and of vLLM's CPU build are left out: vLLM's CUDA build
    pins its own torch.
    """

    build: str = one_of(BUILDS)

    def __post_init__(self) -> None:
        need_choices(self)
