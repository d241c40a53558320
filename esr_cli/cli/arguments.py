"""From what was typed after a command to the overrides that Hydra composes."""

from __future__ import annotations

from collections.abc import Sequence

from esr_cli.base import failures
from esr_cli.cli import config_file, own_benchmark, spelling, typed


def prepared(command: str, schema: str, given: Sequence[str]) -> list[str]:
    """The overrides of a command for Hydra: files of settings read, names and values as it wants
    them. `schema` is the name of its dataclass.

    Prints a note on each setting that the command does not use; raises `ConfigError` for mistakes.
    """
    given = spelling.flags_first([spelling.spaced(each) for each in given])
    typed.check(command, schema, given)
    for line in typed.unused(command, given):
        print(failures.one_line(line), flush=True)
    arguments = config_file.expanded(command, schema, given)
    ready = [spelling.readable(own_benchmark.located(each)) for each in arguments]
    return own_benchmark.opened(ready, own_benchmark.stored(ready))
