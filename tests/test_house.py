"""The rules of the package, checked on its code: rooms, imports, sizes, documentation."""

from __future__ import annotations

import ast
import runpy
import statistics
from pathlib import Path

import pytest
from conftest import interpreter

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "esr_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

# The plan, from top to bottom. A row names a room, the rooms that it may import besides COMMON, and
# its doors: the modules that other rooms may import; everything else is its inside. A room may only
# import rooms further down, so a part cannot import a verb and no arrow runs back up.
COMMON = {"config", "types", "base"}
PLAN: list[tuple[str, str, str]] = [
    # the Python API and the command line
    ("api", "cli train benchmarks runs execution", "grading runs training"),
    ("cli", "execution runs", "composing"),
    # verbs
    ("env", "", ""),
    ("push", "runs", ""),
    ("bench", "train check assembly runs student execution models plots", ""),
    ("train", "check probe assembly runs student execution plots", "command steps"),
    (
        "check",
        "probe assembly runs tasks models distill",
        "ceilings command facts floors limits tuning",
    ),
    (
        "probe",
        "assembly benchmarks runs execution tasks graders models distill plots",
        "command earlier plan settings analyses.profile",
    ),
    ("eval", "assembly benchmarks runs student execution models", ""),
    ("lab", "assembly benchmarks tasks rollout", ""),
    ("reproduce", "report runs execution", ""),
    ("report", "runs plots", "command"),
    ("compare", "runs", ""),
    # from settings to parts
    (
        "assembly",
        "benchmarks student teacher rollout execution tasks graders models distill",
        "adapting data examiner memory model_folder objective pairing preflight "
        "random_pair seats several_teachers teachers templates watcher workers",
    ),
    # parts
    ("benchmarks", "tasks graders models", "catalog exam responses"),
    (
        "runs",
        "",
        "alarms card environment folder guard labels lines metrics progress record saved service "
        "settings tracking",
    ),
    ("student", "execution models distill", "rank ranks sides snapshot student trainers tuning"),
    ("teacher", "models distill", "canary servers states_teacher teacher vllm_states"),
    ("rollout", "models distill", "eager vllm"),
    (
        "execution",
        "distill",
        "cluster jobs packing processes remote restarting scoring seat several slurm team watch "
        "worker",
    ),
    (
        "tasks",
        "models",
        "chat code filters fresh glaive lab math own rows tools training wording words",
    ),
    ("graders", "", "boxed code figures lab math plain tools"),
    ("plots", "", "bench probes report run style"),
    (
        "models",
        "distill",
        "batching classes continued grouped head_file heads literal loading lora outlines "
        "random_weights reading shapes spelling token_bytes vocabulary",
    ),
    ("distill", "", "divergence head lengths positions ranks shared"),
    # what everyone may use
    (
        "config",
        "",
        "benchmark errors evaluate finding gate misfit needed probe saved_yaml schema train",
    ),
    ("types", "", ""),
    (
        "base",
        "",
        "available companions failures files hub notes parallel places process reading seeds "
        "states statistics terminal words writing",
    ),
]
NAMES = [room for room, _, _ in PLAN]
ENTERS = {room: set(enters.split()) for room, enters, _ in PLAN}
DOORS = {room: set(doors.split()) for room, _, doors in PLAN}
# What these may import of COMMON: plain values go in and come out, not even settings.
LESS = {
    "distill": set(), "graders": {"base", "types"}, "plots": {"base"}, "config": {"base"},
    "types": set(), "base": set(),
}  # fmt: skip
FRAMEWORKS = {
    "hydra": (
        "cli/main.py",
        "cli/rewording.py",
        "cli/launched.py",
        "cli/composing.py",
        "cli/own_benchmark.py",
    ),
    "omegaconf": "config/",
    "vllm": ("rollout/vllm.py", "teacher/vllm_states.py"),
    "tensorboard": "runs/tensorboard_mirror.py",
    "torch.utils.tensorboard": "runs/tensorboard_mirror.py",
    "trackio": "runs/trackio_mirror.py",
    "wandb": "runs/wandb_mirror.py",
    "ray": "execution/",
}
# Tests of these stand with those of the rooms that use them.
UNTESTED_ALONE = {"types"}
HOUSE = runpy.run_path(str(ROOT / "scripts" / "draw_house.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room(path: Path) -> str:
    return HOUSE["room_of"](path, PACKAGE)


def module_of(name: str) -> tuple[str, str]:
    """The room of an imported name, and the module within it, empty for the room itself."""
    module = name if name in MODULES else name.rpartition(".")[0]
    where, _, inside = module.removeprefix("esr_cli.").partition(".")
    return where, inside


def test_nothing_stands_at_the_root_but_what_flows():
    assert sorted(path.name for path in PACKAGE.glob("*.py")) == ["__init__.py", "types.py"]
    rooms = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert rooms | {"types"} == set(NAMES)


def test_each_verb_is_a_folder_named_as_it_is_typed():
    from esr_cli.cli.main import COMMANDS

    for command in COMMANDS:
        tree = HOUSE["parsed"](PACKAGE / command / "command.py")
        assert "run" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {path.parent.name for path in PACKAGE.rglob("command.py")} == set(COMMANDS)


def test_the_plan_runs_downwards():
    for index, name in enumerate(NAMES):
        assert ENTERS[name] <= set(NAMES[index + 1 :]), name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downwards_and_through_the_doors(path):
    here = room(path)
    if here == "__init__":
        return
    allowed = ENTERS[here] | LESS.get(here, COMMON)
    for name, line in HOUSE["imported"](path, "esr_cli"):
        target, inside = module_of(name)
        if not target or target == here:
            continue
        where = f"{name_of(path)}:{line}"
        assert target in allowed, f"{where} imports {target}"
        assert not inside or inside in DOORS[target], f"{where} imports the inside of {target}"
        last = name.rpartition(".")[2]
        assert not last.startswith("_") or last == "__version__", f"{where} imports {name}"


def test_no_room_reaches_itself():
    assert HOUSE["circles"](HOUSE["read"](PACKAGE)) == []


def test_every_arrow_and_every_door_of_the_plan_is_used():
    entered: dict[str, set[str]] = {name: set() for name in NAMES}
    opened: dict[str, set[str]] = {name: set() for name in NAMES}
    for path in FILES:
        for name, _ in HOUSE["imported"](path, "esr_cli"):
            (target, inside), here = module_of(name), room(path)
            if target and target != here:
                entered.setdefault(here, set()).add(target)
                opened[target] |= {inside} - {""}
    assert opened == DOORS
    assert {name: entered[name] - COMMON for name in NAMES} == ENTERS


def test_the_picture_shows_the_imports_as_they_are():
    picture = (ROOT / "docs" / "images" / "house.svg").read_text()
    assert picture == HOUSE["draw"](PACKAGE), "run make house"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_framework_has_one_place(path):
    for node in ast.walk(HOUSE["parsed"](path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            for package, place in FRAMEWORKS.items():
                inside = f"{name}.".startswith(f"{package}.")
                assert not inside or name_of(path).startswith(place), f"{name_of(path)}: {name}"


def test_tests_have_the_same_rooms():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - {ROOT / "tests"}
    names = {path.name for path in folders}
    assert names - {"gpu"} == set(NAMES) - UNTESTED_ALONE


def test_files_and_functions_stay_small():
    lengths = []
    for path in FILES:
        lengths.append(path.read_text().count("\n"))
        assert lengths[-1] <= 300, f"{name_of(path)} has {lengths[-1]} lines"
        for node in ast.walk(HOUSE["parsed"](path)):
            if isinstance(node, ast.FunctionDef):
                size = node.end_lineno - node.lineno + 1
                limit = 80 if name_of(path) == "train/command.py" else 60
                assert size <= limit, f"{name_of(path)}:{node.lineno} {node.name}: {size} lines"
    assert statistics.median(lengths) <= 110


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_public_is_documented(path):
    tree = HOUSE["parsed"](path)
    assert ast.get_docstring(tree), f"{name_of(path)} does not say what it is"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [node for node in classes if not node.name.startswith("_")]
    for node in [*tree.body, *(method for owner in public for method in owner.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            long = node.end_lineno - node.lineno + 1 > 8
            assert ast.get_docstring(node) or not long, f"{name_of(path)}:{node.lineno} {node.name}"


def test_the_command_line_loads_nothing_heavy():
    heavy = (
        "{'torch', 'vllm', 'wandb', 'tensorboard', 'trackio', 'transformers'} & set(sys.modules)"
    )
    code = f"import sys, esr_cli.cli.main, esr_cli.config, esr_cli.config.gate; print({heavy})"
    done = interpreter("-c", code)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
