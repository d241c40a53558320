"""The command table: `esr COMMAND key=value …`; everything heavy is imported after parsing."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

from esr_cli.disk import conf_dir

# The module, the settings, and what the list says.
COMMANDS = {
    "train": ("train", "TrainConfig", "distil a student:  esr train +rollout_len=64"),
    "check": ("check", "TrainConfig", "what a run would do and take:  esr check pair=lab"),
    "eval": ("evaluate", "EvalConfig", "grade a model:  esr eval model=PATH benchmark=math500"),
    "compare": ("compare", "CompareConfig", "two runs, question by question:  esr compare a= b="),
    "report": ("report", "ReportConfig", "runs as one page:  esr report runs=runs/lab"),
    "lab": ("lab", "LabConfig", "train the miniature pair from scratch:  esr lab out=my_pair"),
}
USAGE = """esr: on-policy distillation with Early Stopping Rollout (arXiv 2605.27028)

usage: esr COMMAND [key=value ...] [-m]

{table}

`esr COMMAND --help` shows its settings; `-m key=1,2,3` runs one after another.
"""


def main() -> None:
    """Runs the command named in `sys.argv`; exits 2 for a user's mistake, 1 for a failed run."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        table = "\n".join(f"  {name:<8}{about}" for name, (_, _, about) in COMMANDS.items())
        print(USAGE.format(table=table))
        return
    command = arguments[0]
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        _leave(f"{command}: no such command; {hint}", 2)
    sys.argv = [f"esr {command}", *map(_quoted, arguments[1:])]
    try:
        _run(command)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _run(command: str) -> None:
    # Hydra would otherwise print its own version of an error and exit by itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException

    from esr_cli.config.errors import ConfigError
    from esr_cli.config.gate import CompositionError, one_line

    failures: list[Exception] = []
    job = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
    try:
        job(lambda tree: _dispatch(command, tree, failures))()
    except (HydraException, CompositionError) as error:
        _leave(one_line(error, conf_dir()), 2)
    for failure in failures:
        if isinstance(failure, BrokenPipeError):
            # Whoever read the output has gone (`esr check | head`); nor is there one for the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1)
        status = 2 if isinstance(failure, ConfigError) else 1
        _leave(str(failure), status)


def _quoted(argument: str) -> str:
    """Quotes a value that holds `=`, as folders named after settings do; Hydra asks for it."""
    key, sign, value = argument.partition("=")
    if "=" not in value or value[0] in "'\"[{":
        return argument
    return f"{key}{sign}'{value}'"


def _dispatch(command: str, tree: Any, failures: list[Exception]) -> None:
    from hydra.core.hydra_config import HydraConfig

    import esr_cli.config
    from esr_cli.config import ConfigError, gate

    try:
        module, schema, _ = COMMANDS[command]
        config = gate.read(tree, getattr(esr_cli.config, schema))
        overrides = list(HydraConfig.get().overrides.task)
        importlib.import_module(f"esr_cli.{module}").run(config, overrides)
    except (ConfigError, RuntimeError, BrokenPipeError) as error:
        # Kept for after the job: Hydra prints a text of its own around what it sees raised.
        if os.environ.get("ESR_TRACEBACK"):
            raise
        failures.append(error)


def _leave(message: str, status: int) -> None:
    print(f"esr: {message}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
