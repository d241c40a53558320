"""The paper's figure for a claim: that of the same pair, task, tuning and rollouts a prompt."""

from __future__ import annotations

from typing import Any

from esr_cli.report.book import Book, Group
from esr_cli.report.measures import Finding

NONE = "–"


def paper_figure(
    claim: dict[str, Any], group: Group | None, finding: Finding | None, book: Book
) -> str:
    """The paper's figure for a claim.

    The figures in claims.yaml are for the paper's main pair and task, and the lab is compared with
    them. Other groups take theirs from the paper's tables. Of several figures, returns the one with
    the finding's key, or all of them without a finding.
    """
    main = tuple(book.paper["main"])
    if group and group.scale["name"] != "lab" and (group.pair, group.task) != main:
        tune = finding.tune if finding and finding.tune else group.scale["tune"]
        return _gain(group, tune, book) if claim.get("in_tables") else NONE
    paper = claim["paper"]
    if isinstance(paper, dict):
        if finding:
            paper = paper.get(finding.key, NONE)
        else:
            each = (f"{name.replace('_', ' ')} {text}" for name, text in paper.items())
            paper = "; ".join(each)
    return _of_setting(claim, paper, finding)


def _of_setting(claim: dict[str, Any], paper: str, finding: Finding | None) -> str:
    """`paper` was measured with LoRA and one rollout a prompt, `paper_of` has other settings."""
    if not finding or not finding.tune:
        return paper
    setting = "several_rollouts" if finding.rollouts > 1 else finding.tune
    if setting == claim.get("paper_with", "lora") or paper == NONE:
        return paper
    if setting in claim.get("paper_of", {}):
        return str(claim["paper_of"][setting])
    words = {"lora": "LoRA, one rollout a prompt", "several_rollouts": "LoRA, 16 rollouts a prompt"}
    return f"{NONE} (with {words[claim.get('paper_with', 'lora')]}: {paper})"


def _gain(group: Group, tune: str, book: Book) -> str:
    """The gain of ESR over full rollouts in the paper's tables, for the group's pair and benchmark
    and a tuning.
    """
    key = f"esr_{group.scale['n']}"
    for spec in book.paper["tables"].values():
        rows = spec["rows"].get(group.pair, {}) if spec["shape"] == "arms" else {}
        if key not in rows or "full" not in rows or spec.get("tune", "lora") != tune:
            continue
        for index, column in enumerate(spec["columns"]):
            # The first alternative of a column is the paper's metric; the others are ours.
            if column.split("|")[0] == f"{group.benchmark}/avg@":
                pair = [rows[name][index : index + 1] for name in (key, "full")]
                if all(pair) and None not in (pair[0][0], pair[1][0]):
                    ours, full = pair[0][0], pair[1][0]
                    return f"{ours - full:+.2f} points ({ours:.2f} against {full:.2f})"
    return NONE
