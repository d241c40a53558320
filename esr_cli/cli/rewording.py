"""What Hydra raises for a command line, as the line that users read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException

from esr_cli.base import failures, files
from esr_cli.cli import known
from esr_cli.config.errors import ConfigError
from esr_cli.config.gate import CompositionError, one_line


@contextmanager
def reworded(command: str, schema: str, arguments: Sequence[str]) -> Iterator[None]:
    """Raises what Hydra raises for these arguments as `ConfigError`, with one line for users.

    `schema` is the name of the command's dataclass.
    """
    try:
        yield
    except (HydraException, CompositionError) as error:
        verb = "teacher serve" if command == "teacher" else command
        message = one_line(
            error, lambda: [*known.names(command, schema), *known.taken(command)]
        ).replace("COMMAND", verb)
        raise ConfigError(_with_settings(message, arguments)) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
        # Of Hydra itself, on what was typed: what a command raises is in `caught`.
        if str(error).startswith("Config group override must be"):  # loss=3
            raise ConfigError(_invalid_option(arguments)) from error
        raise ConfigError(_incomposable(arguments, error)) from error


def _incomposable(arguments: Sequence[str], error: Exception) -> str:
    """The message for settings on which Hydra fails without a message of its own for users."""
    message = f"cannot be read as settings ({failures.summary(error)}); give key=value"
    return _with_settings(message, arguments)


def _with_settings(message: str, arguments: Sequence[str]) -> str:
    """The message after what was typed, unless it names one of the keys."""
    given = [each for each in arguments if not each.startswith("-")]
    keys = (each.lstrip("+~").partition("=")[0] for each in given)
    return (
        message if any(key and key in message for key in keys) else f"{' '.join(given)}: {message}"
    )


def _invalid_option(arguments: Sequence[str]) -> str:
    """The message for the argument that selects a group's option by something else than a name."""
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        options = files.options(group.partition("@")[0])
        named = re.match(r"[\[\w]*[A-Za-z]", value) and value not in ("null", "true", "false")
        if options and not named:
            none = "; benchmark=[] asks none" if group == "benchmark" else ""
            return f"{argument}: no such option; there are {', '.join(options)}{none}"
    return "a group's option is chosen by its name"
