"""Runs `esr`, also as `python -m esr_cli.cli`."""

import sys
from types import TracebackType


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ends an import that Ctrl-C interrupts in one line; `ending` takes over after the imports."""
    if issubclass(kind, KeyboardInterrupt):
        print("esr: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end

from esr_cli.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
