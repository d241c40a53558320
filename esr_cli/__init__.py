"""esr: on-policy distillation of language models with Early Stopping Rollout (arXiv 2605.27028).

The names below are the Python API (docs/python.md). Each is imported when it is first used, so
`import esr_cli` imports neither torch nor any other package.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would take longer than all of this
if TYPE_CHECKING:
    from esr_cli.api.grading import GRADERS, grader
    from esr_cli.api.runs import Run, load_run
    from esr_cli.api.training import train
    from esr_cli.base.failures import Failure
    from esr_cli.config.errors import ConfigError
    from esr_cli.distill.divergence import Figures, Options, divergence
    from esr_cli.distill.head import Head
    from esr_cli.distill.shared import Shared
    from esr_cli.types import CodeReference, Grade, Grader, ToolReference

    __version__: str

__all__ = [
    "GRADERS",
    "CodeReference",
    "ConfigError",
    "Failure",
    "Figures",
    "Grade",
    "Grader",
    "Head",
    "Options",
    "Run",
    "Shared",
    "ToolReference",
    "divergence",
    "grader",
    "load_run",
    "train",
]
_PLACES = {
    "api.grading": ("GRADERS", "grader"),
    "api.runs": ("Run", "load_run"),
    "base.failures": ("Failure",),
    "config.errors": ("ConfigError",),
    "distill.divergence": ("Figures", "Options", "divergence"),
    "distill.head": ("Head",),
    "distill.shared": ("Shared",),
    "types": ("CodeReference", "Grade", "Grader", "ToolReference"),
}
_MODULES = {name: f"esr_cli.{place}" for place, names in _PLACES.items() for name in names}


def _attribute(name: str) -> object:
    if name == "__version__":
        return _version()
    if name != "train" and name not in _MODULES:
        raise AttributeError(f"module 'esr_cli' has no attribute {name!r}")
    import importlib

    if name == "train":  # the package of that name can be called
        return importlib.import_module("esr_cli.train")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


if not TYPE_CHECKING:  # a type checker shall know no other names
    __getattr__ = _attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    """The version of the installed package; git tags name it (pyproject.toml)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("esr-cli")
    except PackageNotFoundError:  # the code was copied, not installed
        return "unknown"
