"""The house rules, read off the code: who imports whom, how large things are, what is said."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "esr_cli").rglob("*.py"))
BASE = {"base", "config", "types"}
LOW = {"distill", "models"}
PARTS = {
    "tasks", "rollout", "teacher", "student", "plots", "graders",
    "execution", "runs",
}  # fmt: skip
ONE_PLACE = {
    "hydra": "cli/main.py",
    "omegaconf": "config",
    "vllm": "rollout/vllm.py",
    "wandb": "runs/wandb_mirror.py",
    "ray": "execution",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "esr_cli").parts
    return parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "esr_cli":
            yield from ((f"esr_cli.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def allowed(where: str) -> set[str] | None:
    """The rooms that `where` may enter; None is everything (verbs and the command line)."""
    if where in BASE:
        return BASE
    if where == "distill":
        return {"distill"}
    if where in LOW:
        return BASE | LOW
    if where in {"graders", "plots"}:
        return {where, "base", "types"}
    if where == "report":
        return BASE | {"plots", "runs", where}
    if where in PARTS:
        return BASE | LOW | {where}
    return None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downwards(path):
    may = allowed(room(path))
    for module, line in imports(path):
        if may is not None and module.startswith("esr_cli."):
            target = module.split(".")[1]
            assert target in may, f"{name_of(path)}:{line} imports {target}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_framework_has_one_place(path):
    inside = str(path.relative_to(ROOT / "esr_cli"))
    for module, line in imports(path):
        place = ONE_PLACE.get(module.split(".")[0])
        if place:
            assert inside == place or inside.startswith(f"{place}/"), f"{inside}:{line} {module}"


def test_files_and_functions_stay_small():
    lengths = []
    for path in FILES:
        text = path.read_text()
        lengths.append(text.count("\n"))
        assert lengths[-1] <= 300, f"{name_of(path)} has {lengths[-1]} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                size = node.end_lineno - node.lineno + 1
                limit = 80 if name_of(path) == "esr_cli/train/command.py" else 60
                assert size <= limit, f"{name_of(path)}:{node.lineno} {node.name}: {size} lines"
    assert statistics.median(lengths) <= 110


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_public_is_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{name_of(path)} does not say what it is"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [node for node in classes if not node.name.startswith("_")]
    for node in [*tree.body, *(method for owner in public for method in owner.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            long = node.end_lineno - node.lineno + 1 > 8
            assert ast.get_docstring(node) or not long, f"{name_of(path)}:{node.lineno} {node.name}"


def test_the_command_line_loads_nothing_heavy():
    heavy = "{'torch', 'vllm', 'wandb', 'transformers'} & set(sys.modules)"
    code = f"import sys, esr_cli.cli.main, esr_cli.config, esr_cli.config.gate; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
