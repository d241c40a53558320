"""Renders the report as Markdown, for a repository or a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from esr_cli.report.content import Report
from esr_cli.report.tables import Cell, Table


def markdown(report: Report) -> str:
    """The report as Markdown: the same figures as the page, with drawings linked as PNG."""
    parts = [f"# {report.title}", " ".join(report.summary), "## The paper's claims"]
    judged = [(each.statement + (f" ({each.what})" if each.what else ""), each.paper, each.ours,
               each.rule, each.verdict) for each in report.judged]  # fmt: skip
    parts.append(_grid(("claim", "paper", "ours", "required", "verdict"), judged))
    parts.append("## Accuracy, seconds, memory")
    parts += [table(each, "condition") for each in report.conditions]
    for each in report.pictures:
        parts += [f"![{_plain(each.alt_text)}](figures/{each.name}.png)",
                  f"*{each.title}.* {each.caption}"]  # fmt: skip
    if report.probes:
        parts.append("## Probes")
    for view in report.probes:
        parts += [f"### {view.title}: {view.label}", view.sentence]
        if view.link:
            parts.append(_link(view.title, view.link))
        if view.table:
            parts.append(table(view.table, "figure"))
    if report.paper:
        parts += ["## The paper's tables", f"The rows are those of {report.source}."]
    parts += [table(each, "row") for each in report.paper]
    parts += ["## Runs", _grid(("what", ""), report.facts), table(report.runs, "condition")]
    return "\n\n".join(parts) + "\n"


def table(table: Table, first: str) -> str:
    """One table with its title above it."""
    whose = any(row.whose for row in table.rows)
    grouped = any(row.group for row in table.rows)
    lead = [*(["pair"] if grouped else []), first, *(["whose"] if whose else [])]
    rows = []
    for row in table.rows:
        start = [*([row.group] if grouped else []), row.label, *([row.whose] if whose else [])]
        rows.append([*start, *map(_cell, row.cells)])
    title = f"**{table.title}** {table.source}".strip() + "\n\n" if table.title else ""
    return (
        title + _grid([*lead, *table.columns], rows) + (f"\n\n{table.note}" if table.note else "")
    )


def _cell(cell: Cell) -> str:
    if cell.links:
        return " ".join(_link(name, to) for name, to in cell.links)
    return f"{cell.text} {cell.small}".strip()


def _link(name: str, to: str) -> str:
    return f"[{name}](<{re.sub('[<>]', lambda found: quote(found[0]), to)}>)"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
