"""`esr train`: the training loop, with its evaluations and checkpoints.

The package can be called: `esr_cli.train(overrides, steps=10)` trains and returns the run, see
`esr_cli.api.training.train`. The Python API and the command share the name.
"""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, overrides: Sequence[str] = (), **settings: Any) -> Any:
        # By its name, because no room imports the API, which stands above all of them.
        training = importlib.import_module("esr_cli.api.training")
        return training.train(overrides, **settings)


sys.modules[__name__].__class__ = _Callable
