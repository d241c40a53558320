"""The model card of a student, README.md in its folder: what it is, how it was made, its figures.

The settings of a run folder may be a stranger's: a name is escaped wherever it stands in the card.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from esr_cli.base.failures import one_line
from esr_cli.base.files import Rows
from esr_cli.base.reading import printable
from esr_cli.config import saved_yaml
from esr_cli.config.train import NO_DIFFERENCE
from esr_cli.runs import lines, record, saved
from esr_cli.runs.environment import FILE as ENVIRONMENT
from esr_cli.runs.settings import under

NAME = "README.md"
TAGS = ["on-policy-distillation", "early-stopping-rollout", "arxiv:2605.27028", "esr"]
# Shares of correct responses; eval.jsonl has many more figures.
ACCURACIES = ("avg@", "pass@", "maj@")
# The form of a hub id; the hub refuses a card whose base_model has another one.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# The folders of an absolute or relative path in a setting, before its last part.
FOLDERS = re.compile(r"(?<=[=\[,'\"])(?:~|\.{1,2})?/(?:[^/,\]'\"]+/)*")
MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")

CARD = """# {title}

This is {student} after on-policy distillation from {teachers} with Early Stopping Rollout
([arXiv 2605.27028](https://arxiv.org/abs/2605.27028)). At each step it sampled responses of at
most N tokens, and the loss was the divergence from the teacher at these tokens, over the whole
vocabulary.

## How

| | |
|---|---|
{how}

```bash
{command}
```

{versions}.

## Figures

Shares of correct responses, with 95 % intervals for other questions of the same kind; `n` counts
questions.

| benchmark | metric | before (step {first}) | after (step {last}) | n |
|---|---|---|---|---|
{figures}

## Load it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({where})
tokenizer = AutoTokenizer.from_pretrained({where})
```

```python
from vllm import LLM

model = LLM({where})
```

{adapter}
"""
PEFT = """With PEFT the adapter alone is loaded, on top of the model that it was trained for:

```python
from peft import PeftModel

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, {adapter})
```"""
NO_ADAPTER = "All weights were trained: there is no adapter for PEFT to load."


def text(folder: Path, repo: str = "") -> str:
    """The card of a run's student, from its settings, its evaluations and its last start.

    `repo` is the name on the hub that the card loads the student by; empty: the folder's own name,
    since the run may be moved. Raises
    `ConfigError` if a file of the run is broken.
    """
    config = saved.settings(folder)
    pair, student = config["pair"], str(config["pair"]["student"]["path"])
    teachers = [pair["teacher"], *pair["teachers"].values()]
    rows = record.rows_in(folder, "eval.jsonl")
    steps = sorted({row["step"] for row in rows}) or [0]
    starts = list(lines.read(folder / ENVIRONMENT, lines.ENVIRONMENT))
    where = repo or "student"
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if _on_hub(student):
        head["base_model"] = student
    head["tags"] = TAGS
    body = CARD.format(
        title=f"{_last(student)}, distilled from {_last(str(teachers[0]['path']))}",
        student=_model(student), teachers=", ".join(_model(str(each["path"])) for each in teachers),
        how="\n".join(f"| {name} | {_plain(value)} |" for name, value in _how(config, folder)),
        command=_command(starts), versions=_versions(starts), first=steps[0], last=steps[-1],
        figures=_figures(rows, steps[0], steps[-1]), where=json.dumps(where),
        adapter=_adapter(config, folder, repo),
    )  # fmt: skip
    return f"---\n{saved_yaml.write(head)}---\n\n{body}"


def _how(config: dict[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    tune, loss, rollout, lengths = (config[key] for key in ("tune", "loss", "rollout", "lengths"))
    schedule = "" if lengths["schedule"] == "constant" else f", schedule {lengths['schedule']}"
    full = f", a share of {lengths['full_share']:g} in full" if lengths["full_share"] else ""
    yield "N, tokens of a response", f"{rollout['max_tokens']}{schedule}{full}"
    yield "steps", str(record.last_step(folder))
    yield (
        "responses a step",
        (
            f"{config['prompts_per_step']} prompts, {config['rollouts_per_prompt']} of each, "
            f"at temperature {rollout['temperature']:g}"
        ),
    )
    chosen = "all" if loss["select"] == "all" else f"{loss['select']}"
    yield "loss", f"{loss['divergence']}, positions: {chosen}, {loss['reduction']}"
    method = "full fine-tuning"
    if tune["method"] == "lora":
        method = f"LoRA, rank {tune['rank']}, alpha {tune['alpha']}"
    rate = f"learning rate {tune['learning_rate']:g}, {tune['schedule']}"
    yield "tuning", f"{method}, {rate}, {config['pair']['dtype']}"
    yield "prompts", str(config["task"]["name"])
    yield "seed", str(config["seed"])


def _command(starts: Rows) -> str:
    """The command of the run's first start, without settings that change no result, and of paths
    only the ends.
    """
    typed = []
    with suppress(ValueError):  # a stranger's text may end within quotes
        typed = shlex.split(starts[0].get("command") or "") if starts else []
    if typed[:2] != ["esr", "train"]:  # of a version that did not record it
        return "# the command is not known"
    kept = [each for each in typed[2:] if not under(each.lstrip("+~").split("=")[0], NO_DIFFERENCE)]
    return one_line(shlex.join(["esr", "train", *(FOLDERS.sub("", each) for each in kept)]))


def _versions(starts: Rows) -> str:
    last = starts[-1] if starts else {}
    parts = (last.get("versions") or "versions unknown", last.get("gpu"))
    return _plain("Made with " + ", ".join(each for each in parts if each))


def _figures(rows: Rows, first: int, last: int) -> str:
    found = {(row["benchmark"], row["metric"], row["step"]): row for row in rows}
    names = dict.fromkeys((row["benchmark"], row["metric"]) for row in rows)
    cells = [
        (_plain(benchmark), _plain(metric), _share(found.get((benchmark, metric, first))),
         _share(found.get((benchmark, metric, last))), str(_count(found, benchmark, metric)))
        for benchmark, metric in names if metric.startswith(ACCURACIES)
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(each)} |" for each in cells) or "| none | | | | |"


def _count(found: dict[tuple[str, str, int], dict[str, Any]], benchmark: str, metric: str) -> int:
    return next(int(row["n"]) for key, row in found.items() if key[:2] == (benchmark, metric))


def _share(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    value, low, high = record.interval_of(row)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _adapter(config: dict[str, Any], folder: Path, repo: str) -> str:
    if config["tune"]["method"] != "lora":
        return NO_ADAPTER
    place = f'{json.dumps(repo)}, subfolder="adapter"' if repo else json.dumps("adapter")
    path = str(config["pair"]["student"]["path"])
    # A model that is not on the hub: the reader knows where theirs is.
    base = path if _on_hub(path) else re.split(r"[/:]", path.rstrip("/"))[-1]
    return PEFT.format(base=json.dumps(base), adapter=place)


def _on_hub(path: str) -> bool:
    return bool(HUB_ID.fullmatch(path)) and not Path(path).exists()


def _model(path: str) -> str:
    """A model in words. A local path names the user's folders, so only its end is given."""
    if path.startswith("esr:"):
        return f"the {_last(path)} of the lab pair that comes with esr"
    if _on_hub(path):
        return _plain(path)
    return f"{_last(path)} (a local folder)"


def _last(path: str) -> str:
    return _plain(re.split(r"[/:]", path.rstrip("/"))[-1])


def _plain(text: str) -> str:
    """A foreign text on one line of Markdown, in which none of its characters is markup."""
    return MARKUP.sub(r"\\\1", escape(" ".join(printable(text).split()), quote=False))
