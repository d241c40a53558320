"""The command table: `esr COMMAND key=value …`. Heavy modules are imported after parsing."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import esr_cli
from esr_cli.base.files import conf_dir
from esr_cli.cli import ending

# The schema and the help line of a command; `esr_cli.COMMAND.command.run` runs it.
COMMANDS = {
    "train": ("TrainConfig", "distil a student:  esr train +rollout_len=64"),
    "check": ("TrainConfig", "what a run would do and need:  esr check pair=lab"),
    "eval": ("EvalConfig", "grade a model:  esr eval model=PATH benchmark=math500"),
    "compare": ("CompareConfig", "compare two runs, or the seeds of two:  esr compare a= b="),
    "probe": ("ProbeCommandConfig", "the paper's measurements:  esr probe run=RUN_DIR"),
    "report": ("ReportConfig", "a page on all runs:  esr report runs=runs/lab"),
    "reproduce": (
        "ReproduceConfig",
        "reproduce the paper:  esr reproduce scale=lab quick=true",
    ),
    "bench": ("BenchConfig", "time the training loop:  esr bench lengths=[16,64,full] peer=trl"),
    "teacher": (
        "TeacherServeConfig",
        "serve a teacher of any size:  esr teacher serve pair=lab",
    ),
    "lab": ("LabConfig", "train the miniature pair from scratch:  esr lab run_dir=my_pair"),
    "push": ("PushConfig", "send a student to the hub:  esr push run=RUN_DIR repo=OWNER/NAME"),
    "env": ("EnvConfig", "print the tested versions, for pip:  esr env > versions.txt"),
}
# Arguments that request a sweep.
SWEEPS = re.compile(r"(-m|--multirun)$|\+(sweep|cluster)=")
# Arguments that launch the runs as jobs on this machine.
LOCAL_LAUNCHER = re.compile(r"\+cluster=local$|hydra/launcher=submitit_local$")
USAGE = """esr: on-policy distillation with Early Stopping Rollout (arXiv 2605.27028)

usage: esr COMMAND [key=value ...] [-m]

{table}

`esr COMMAND --help` shows its settings; `-m key=1,2,3` runs one value after another.
`esr init pair=own` writes a file of settings to edit; `esr --version` prints the versions.
For completion at TAB in bash and zsh:  eval "$(esr completion bash)"
"""


def main() -> None:
    """Runs the command in `sys.argv`; exits with 2 for a user error, with 1 for a failed run."""
    ending.guard(_main)


def _main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help", *arguments[2:]]
    if not arguments or arguments[0] in ("-h", "--help"):
        table = "\n".join(f"  {name:<11}{about}" for name, (_, about) in COMMANDS.items())
        print(USAGE.format(table=table))
        return
    from esr_cli.cli import help as helps

    if arguments[0] in SMALL:
        # A shell passes what is typed, flags too, to be completed.
        typed_flags = arguments[1:2] if arguments[0] == "completion" else arguments[1:]
        if helps.wanted(typed_flags) is not None:
            print(helps.SMALL[arguments[0].lstrip("-")], end="")
        else:
            SMALL[arguments[0]](arguments[1:])
        return
    from esr_cli.base import companions, process
    from esr_cli.cli import typed
    from esr_cli.config.errors import ConfigError
    from esr_cli.execution import jobs

    process.spin_briefly()
    companions.hide()
    jobs.die_with_parent()
    command = arguments[0]
    if command not in COMMANDS:
        raise ConfigError(typed.command_of(command, [*COMMANDS, *SMALL]))
    if "--version" in arguments:
        _version([])
        return
    asked = helps.wanted(arguments)
    if asked is not None:
        print(helps.page(command, COMMANDS[command][0], asked), end="")
        return
    if command == "teacher":
        if arguments[1:2] != ["serve"]:
            raise ConfigError("esr teacher: say what it shall do; esr teacher serve pair=NAME")
        arguments = ["teacher", *arguments[2:]]
    _start(command, arguments[1:])


def _start(command: str, arguments: list[str]) -> None:
    """Runs a command on what was typed after it."""
    from esr_cli.cli import arguments as typed_arguments
    from esr_cli.cli import launched, version

    arguments = typed_arguments.prepared(command, COMMANDS[command][0], arguments)
    arguments = launched.with_nodes(command, arguments)
    if command == "probe" and any(each.startswith("run=") for each in arguments):
        # These override the run's own benchmark, which is not in the tree composed here.
        arguments = [re.sub(r"^\+*benchmark\.", "++benchmark.", each) for each in arguments]
    sys.argv = [f"esr {command}", *arguments]
    if any(SWEEPS.match(each) for each in arguments):
        _sweep(command, arguments)
        return
    graded = any(each.startswith("generations=") for each in arguments)
    if command in version.HEAVY and not graded:
        # torch alone takes seconds to import.
        print(f"esr {esr_cli.__version__}: loading torch …", flush=True)
    _run(command)


def _complete(arguments: list[str]) -> None:
    from esr_cli.cli import completion

    print(completion.answer(arguments, {name: each[0] for name, each in COMMANDS.items()}), end="")


def _version(_: list[str]) -> None:
    from esr_cli.cli import version

    print(version.line())


def _init(arguments: list[str]) -> None:
    from esr_cli.cli import init

    init.run(arguments)


# What needs no configuration.
SMALL = {"completion": _complete, "init": _init, "--version": _version, "version": _version}


def _run(command: str) -> None:
    # Otherwise Hydra prints its own version of an error and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra

    from esr_cli.cli import rewording

    _check_flags(sys.argv[1:])
    caught: list[Exception] = []
    job = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
    with rewording.reworded(command, COMMANDS[command][0], sys.argv[1:]):
        job(lambda tree: _dispatch(command, tree, caught))()
    if caught:
        raise caught[0]


def _check_flags(arguments: list[str]) -> None:
    """Raises `ConfigError` for an unknown flag, for which Hydra prints its usage and exits."""
    from hydra._internal.utils import get_args_parser

    from esr_cli.config.errors import ConfigError

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; settings are given as key=value, {sys.argv[0]} --help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(arguments)


def _sweep(command: str, arguments: list[str]) -> None:
    """Runs a sweep; exits with 1 if one of its runs failed."""
    from esr_cli.cli import launched, sweep
    from esr_cli.execution import jobs

    folder = sweep.folder_for(command, arguments)
    if plan := launched.check(command, COMMANDS[command][0], arguments):
        print(plan)
        return
    watch = sweep.Watch(folder, launched.counts(arguments), arguments)
    # Hydra writes its record of the sweep there, and launchers write their files.
    sys.argv += [f"hydra.sweep.dir={jobs.text(str(folder))}", "hydra.mode=MULTIRUN"]
    try:
        with jobs.interrupted(), watch:
            _run(command)
    except KeyboardInterrupt:
        local = any(LOCAL_LAUNCHER.match(each) for each in arguments)
        again = f"{watch.disown(local)}the same command resumes the sweep"
        raise KeyboardInterrupt(f"interrupted; {again}") from None
    raise SystemExit(watch.conclude())


def _dispatch(command: str, tree: Any, caught: list[Exception]) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    import esr_cli.config
    from esr_cli.cli import prelaunch
    from esr_cli.config import gate
    from esr_cli.runs import saved

    schema = COMMANDS[command][0]
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    try:
        if hydra.mode == RunMode.MULTIRUN:
            _sweep_job(command, tree, hydra, overrides)
            return
        config = gate.read(tree, getattr(esr_cli.config, schema))
        if command == "eval":
            config = saved.for_eval(config, overrides)
        if command in ("train", "eval"):
            prelaunch.check(config)
            prelaunch.launch(config)
        importlib.import_module(f"esr_cli.{command}.command").run(config, overrides)
    except Exception as error:
        # Raised after the job, because Hydra adds its own text to exceptions that it sees.
        caught.append(error)


def _sweep_job(command: str, tree: Any, hydra: Any, overrides: list[str]) -> None:
    import esr_cli.config
    from esr_cli.cli import sweep
    from esr_cli.config import ConfigError, gate
    from esr_cli.execution import jobs, slurm

    try:
        config = gate.read(tree, getattr(esr_cli.config, COMMANDS[command][0]))
    except ConfigError as error:
        config = error
    number, folder = hydra.job.num, Path(hydra.sweep.dir)
    try:
        # A launcher's job must forward the signals that it receives.
        with jobs.interrupted():
            sweep.run_one(command, config, overrides, number, folder)
    except KeyboardInterrupt:
        task = slurm.task()
        # The other tasks of a job report an orderly end, for which submitit waits.
        if task is None or task.first:
            raise
    except Exception as error:
        if not jobs.STOPPED:
            raise
        # submitit does not queue a job again that has reached its time limit too often.
        sweep.note_stopped(overrides, number, folder, str(error))
