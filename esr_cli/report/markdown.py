"""Renders the report as Markdown, for a repository or a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from esr_cli.report.claims import Judged
from esr_cli.report.content import Report
from esr_cli.report.sections import Section
from esr_cli.report.tables import Cell, Table


def markdown(report: Report) -> str:
    """The report as Markdown: the same figures as the page, with drawings linked as PNG."""
    parts = [f"# {_plain(report.title)}"]
    for section in report.sections:
        parts += _section(section)
    if report.probes:
        parts.append("## Probes")
    for view in report.probes:
        parts += [f"### {_plain(view.title)}: {_plain(view.label)}", view.sentence]
        if view.link:
            parts.append(_link(view.title, view.link))
        if view.table:
            parts.append(table(view.table, "figure"))
    parts += [
        "## Runs",
        _grid(("what", ""), map(_each, report.facts)),
        table(report.runs, "condition"),
        "## The paper's claims",
        _plain(report.claims),
    ]
    if report.judged:
        parts.append(_claims(report.judged))
    parts += map(_plain, report.notes)
    if report.paper:
        parts += ["## The paper's tables", f"The rows are those of {report.source}."]
    parts += [table(each, "row") for each in report.paper]
    if report.authors:
        parts += ["## Later figures of the paper's authors", f"From {report.authors_source}."]
    parts += [table(each, "row") for each in report.authors]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {_plain(section.title)}"]
    if section.answers:
        answers = (f"- **{each.question}** {_plain(each.text)}" for each in section.answers)
        parts.append("\n".join(answers))
    if section.overview:
        parts.append(table(section.overview, "condition"))
    parts += [_plain(note) for note in section.notes]
    for each in (*section.pictures, *section.more):
        parts += [f"![{_plain(each.alt_text)}](figures/{each.name}.png)",
                  f"*{_plain(each.title)}.* {_plain(each.caption)}"]  # fmt: skip
    return [*parts, table(section.details, "condition")]


def _claims(judged: Sequence[Judged]) -> str:
    rows = [(each.statement + (f" ({each.what})" if each.what else ""), each.paper, each.ours,
             each.rule, each.could, each.verdict) for each in judged]  # fmt: skip
    return _grid(("claim", "paper", "ours", "required", "could show", "verdict"), map(_each, rows))


def table(table: Table, first: str) -> str:
    """One table with its title above it."""
    whose = any(row.whose for row in table.rows)
    grouped = any(row.group for row in table.rows)
    lead = [*(["pair"] if grouped else []), first, *(["whose"] if whose else [])]
    rows = []
    for row in table.rows:
        start = [*([row.group] if grouped else []), row.label, *([row.whose] if whose else [])]
        rows.append([*_each(start), *map(_cell, row.cells)])
    title = f"**{_plain(table.title)}** {_plain(table.source)}".strip() if table.title else ""
    grid = _grid([*lead, *_each(table.columns)], rows)
    return "\n\n".join(filter(None, (title, grid, _plain(table.note))))


def _cell(cell: Cell) -> str:
    if cell.links:
        return " ".join(_link(name, to) for name, to in cell.links)
    return _plain(f"{cell.text} {cell.small}")


def _link(name: str, to: str) -> str:
    safe = re.sub(r"[<>\\\s|:]", lambda found: " " if found[0] == " " else quote(found[0]), to)
    return f"[{_plain(name)}](<{safe}>)"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _each(texts: Iterable[str]) -> list[str]:
    return [_plain(text) for text in texts]


def _plain(text: str) -> str:
    """A foreign text as Markdown that holds no HTML, no link and no image, on one line."""
    text = " ".join(escape(text, quote=False).split())
    return text.replace("|", "\\|").replace("](", "]\\(").replace("`", "\\`")
