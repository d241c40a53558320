"""The command line."""

import sys
from types import TracebackType


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ends an import that Ctrl-C interrupts in one line; `ending` takes over after the imports."""
    if issubclass(kind, KeyboardInterrupt):
        print("esr: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
