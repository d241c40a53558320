"""The command table: `esr COMMAND key=value …`; everything heavy is imported after parsing."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.base.files import conf_dir

# The settings, and what the list says; `esr_cli.COMMAND.command.run` runs it.
COMMANDS = {
    "train": ("TrainConfig", "distil a student:  esr train +rollout_len=64"),
    "check": ("TrainConfig", "what a run would do and take:  esr check pair=lab"),
    "eval": ("EvalConfig", "grade a model:  esr eval model=PATH benchmark=math500"),
    "compare": ("CompareConfig", "two runs, question by question:  esr compare a= b="),
    "probe": ("ProbeCommandConfig", "the paper's measurements:  esr probe run=RUN_DIR"),
    "report": ("ReportConfig", "runs as one page:  esr report runs=runs/lab"),
    "reproduce": ("ReproduceConfig", "the paper:  esr reproduce scale=lab quick=true"),
    "bench": ("BenchConfig", "time the loop:  esr bench lengths=[16,64,full] peer=trl"),
    "lab": ("LabConfig", "train the miniature pair from scratch:  esr lab out=my_pair"),
}
# What makes a command a sweep.
SWEEPS = re.compile(r"(-m|--multirun)$|\+sweep=")
# What is quoted already, and what may be several values.
QUOTES, SWEPT = re.compile("['\"]"), re.compile(r"[,()]")
# What launches its runs as jobs on this machine.
HERE = re.compile(r"\+cluster=local$|hydra/launcher=submitit_local$")
USAGE = """esr: on-policy distillation with Early Stopping Rollout (arXiv 2605.27028)

usage: esr COMMAND [key=value ...] [-m]

{table}

`esr COMMAND --help` shows its settings; `-m key=1,2,3` runs one after another.
At TAB, bash and zsh know commands and settings after:  eval "$(esr completion bash)"
"""


def main() -> None:
    """Runs the command named in `sys.argv`; exits 2 for a user's mistake, 1 for a failed run."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        table = "\n".join(f"  {name:<11}{about}" for name, (_, about) in COMMANDS.items())
        print(USAGE.format(table=table))
        return
    if arguments[0] == "completion":
        _complete(arguments[1:])
        return
    from esr_cli.base import process
    from esr_cli.execution import jobs

    process.spin_briefly()
    jobs.die_with_parent()
    command = arguments[0]
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        _leave(f"{command}: no such command; {hint}", 2)
    arguments = [_spelt(_quoted(each)) for each in arguments[1:]]
    if command == "probe" and any(each.startswith("run=") for each in arguments):
        # The run's own benchmark, which the tree that is composed here does not hold.
        arguments = [re.sub(r"^\+*benchmark\.", "++benchmark.", each) for each in arguments]
    sys.argv = [f"esr {command}", *arguments]
    try:
        if any(SWEEPS.match(each) for each in arguments):
            _sweep(command, arguments)
        else:
            _run(command)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _settings(command: str) -> list[str]:
    from esr_cli.cli import completion

    return completion.settings(command, COMMANDS[command][0])


def _complete(arguments: list[str]) -> None:
    from esr_cli.cli import completion

    try:
        text = completion.answer(arguments, {name: each[0] for name, each in COMMANDS.items()})
    except ValueError as error:
        _leave(str(error), 2)
    print(text, end="")


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
        _leave(one_line(error, lambda: _settings(command)), 2)
    except ValueError as error:
        # Hydra's own words for loss=3, which do not say what it is about.
        if not str(error).startswith("Config group override must be"):
            raise
        _leave(_no_option(sys.argv[1:]), 2)
    for failure in failures:
        if isinstance(failure, BrokenPipeError):
            # Whoever read the output has gone (`esr check | head`); nor is there one for the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1)
        status = 2 if isinstance(failure, ConfigError) else 1
        _leave(str(failure), status)


def _no_option(arguments: list[str]) -> str:
    """Which argument chooses an option of a group by what is no name, and what there is."""
    for argument in arguments:
        group = argument.lstrip("+").partition("=")[0].partition("@")[0]
        options = files.options(group)
        if options and not re.search(r"=[\[\w]*[A-Za-z]", argument):
            return f"{argument}: no such option; there are {', '.join(options)}"
    return "a group's option is chosen by its name"


def _sweep(command: str, arguments: list[str]) -> None:
    """Runs a sweep; exits 1 where one of its runs failed."""
    from esr_cli.cli import sweep
    from esr_cli.config.errors import ConfigError
    from esr_cli.execution import jobs

    folder = sweep.folder_for(command, arguments)
    watch = sweep.Watch(folder, _counts(arguments))
    # Hydra leaves its own note of the sweep there, and launchers their files.
    sys.argv += [f"hydra.sweep.dir={jobs.text(str(folder))}", "hydra.mode=MULTIRUN"]
    try:
        with jobs.interrupted(), watch:
            _run(command)
    except KeyboardInterrupt:
        here = any(HERE.match(each) for each in arguments)
        _leave(f"interrupted; {watch.disown(here)}the same command goes on", 130)
    except ConfigError as error:
        _leave(str(error), 2)
    except (RuntimeError, OSError) as error:
        _leave(f"the sweep could not go on: {error}", 1)
    raise SystemExit(watch.conclude())


def _counts(arguments: list[str]) -> dict[str, int]:
    """How many values each key of a sweep takes; nothing where Hydra will refuse it anyway."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from esr_cli.config import gate

    asked = []
    for each in arguments:
        named = re.match(r"\+sweep=(\w+)$", each)
        chosen = conf_dir() / "sweep" / f"{named[1] if named else ''}.yaml"
        if chosen.is_file():
            params = gate.read_yaml(chosen)["hydra"]["sweeper"]["params"]
            asked += [f"{key}={value}" for key, value in params.items()]
    asked += [each for each in arguments if not each.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(asked)
        # A later override of a key takes the place of an earlier one.
        return {
            each.get_key_element(): len(list(each.sweep_string_iterator()))
            if each.is_sweep_override() else 1
            for each in overrides
        }  # fmt: skip
    except HydraException:
        return {}


def _spelt(argument: str) -> str:
    """A key that may be given with or without a plus, in the one spelling that Hydra wants.

    A sweep tells its runs apart by the key as it is spelt.
    """
    argument = re.sub(r"^\+*rollout_len=", "rollout_len=", argument)
    # A group of esr train is called so, too, whose options are words.
    argument = re.sub(r"^\+*lengths=(?=\[)", "rollout_lens=", argument)
    argument = re.sub(r"^\+*lengths=(\d+|full)$", r"rollout_lens=[\1]", argument)
    return re.sub(r"^\+*(sweep|cluster|recipe)=", r"+\1=", argument)


def _quoted(argument: str) -> str:
    """Quotes what Hydra wants quoted: a value that holds `=`, as folders named after settings do,
    or letters beyond ASCII, the items of a list that do (`overrides=[steps=3]`), and a title, which
    may be anything. What holds quotes itself is left as it is.
    """
    from esr_cli.execution import jobs

    key, sign, value = argument.partition("=")
    if value[:1] == "[" and value[-1:] == "]" and "=" in value and not QUOTES.search(value):
        # Commas of a list within the list part no items.
        items = re.split(r",(?![^\[]*\])", value[1:-1])
        return f"{key}=[{','.join(jobs.text(x.strip()) if '=' in x else x for x in items)}]"
    if value[:1] in ("'", '"', "[", "{", "") or (key != "title" and QUOTES.search(value)):
        return argument
    if "=" in value or key == "title" or (not value.isascii() and not SWEPT.search(value)):
        return f"{key}{sign}{jobs.text(value)}"
    return argument


def _dispatch(command: str, tree: Any, failures: list[Exception]) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    import esr_cli.config
    from esr_cli.cli import prelaunch
    from esr_cli.config import ConfigError, gate

    schema = COMMANDS[command][0]
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    try:
        if hydra.mode == RunMode.MULTIRUN:
            _one_of_a_sweep(command, tree, hydra, overrides)
            return
        config = gate.read(tree, getattr(esr_cli.config, schema))
        if command in ("train", "eval"):
            prelaunch.launch(config)
        importlib.import_module(f"esr_cli.{command}.command").run(config, overrides)
    except (ConfigError, RuntimeError, OSError) as error:
        # Kept for after the job: Hydra prints a text of its own around what it sees raised.
        if os.environ.get("ESR_TRACEBACK"):
            raise
        failures.append(error)


def _one_of_a_sweep(command: str, tree: Any, hydra: Any, overrides: list[str]) -> None:
    import esr_cli.config
    from esr_cli.cli import sweep
    from esr_cli.config import ConfigError, gate
    from esr_cli.execution import jobs

    try:
        config = gate.read(tree, getattr(esr_cli.config, COMMANDS[command][0]))
    except ConfigError as error:
        config = error
    # A launcher's job has signals of its own to hand on.
    with jobs.interrupted():
        sweep.run_one(command, config, overrides, hydra.job.num, Path(hydra.sweep.dir))


def _leave(message: str, status: int) -> None:
    print(f"esr: {message}", file=sys.stderr)
    raise SystemExit(status)
