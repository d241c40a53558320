"""Renders a comparison as text, as a table in Markdown, or as one in LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from rich.table import Table

from esr_cli.base import terminal
from esr_cli.base.reading import printable
from esr_cli.base.seeds import Estimate
from esr_cli.base.words import counted

# What LaTeX would read as a command.
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "\u2212": "$-$", "…": r"\ldots{}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One side on one benchmark. `difference` is that to the baseline, None for the baseline
    itself; `verdict` says in words whether it is noise. `units` is the number of seeds or students.
    """

    label: str
    units: str
    accuracy: Estimate
    difference: Estimate | None
    verdict: str
    tokens: float | None
    seconds: float | None


@dataclass(frozen=True)
class Block:
    """All sides on one benchmark, over the `questions` that all of them answered."""

    benchmark: str
    questions: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Comparison:
    """The blocks, the label of the baseline, the word for a unit (empty for single models), and
    lines about what to mind.
    """

    blocks: tuple[Block, ...]
    baseline: str
    unit: str
    remarks: tuple[str, ...]

    @property
    def trained(self) -> bool:
        """Whether the cost of a training is known."""
        lines = [line for block in self.blocks for line in block.lines]
        return any(line.tokens is not None or line.seconds is not None for line in lines)


def text(compared: Comparison) -> str:
    """A table for the terminal, and the remarks below it."""
    drawn = ""
    for block in compared.blocks:
        table = Table(title=printable(_title(block)), title_justify="left")
        for head in _heads(compared):
            table.add_column(printable(head), no_wrap=True)
        for line in block.lines:
            table.add_row(*map(printable, _cells(line, compared)))
        # As wide as its content: a narrow terminal wraps the lines, not the cells.
        drawn += terminal.text(table)
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines()) + _below(
        compared, printable
    )


def markdown(compared: Comparison) -> str:
    """A table in Markdown for each benchmark, and the remarks as paragraphs."""
    parts = []
    for block in compared.blocks:
        rows = [_heads(compared), *(_cells(line, compared) for line in block.lines)]
        head, *lines = (f"| {' | '.join(map(_in_markdown, row))} |" for row in rows)
        rule = "|" + "---|" * len(rows[0])
        parts.append("\n".join([f"**{_in_markdown(_title(block))}**", "", head, rule, *lines]))
    return "\n\n".join([*parts, *map(_in_markdown, compared.remarks)]) + "\n"


def latex(compared: Comparison) -> str:
    """A tabular for LaTeX, with a part for each benchmark; the remarks are comments."""
    heads = _heads(compared)
    lines = [
        r"% needs \usepackage{booktabs}",
        # As wide as a column of text: small intervals, and heads in two lines.
        r"{\footnotesize\setlength{\tabcolsep}{4pt}%",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(heads) - 1)}@{{}}}}",
        r"\toprule",
        _row(_head_in_latex(each) for each in heads),
    ]
    for block in compared.blocks:
        title = rf"\multicolumn{{{len(heads)}}}{{@{{}}l}}{{\emph{{{_in_latex(_title(block))}}}}}"
        lines += [r"\midrule", rf"{title} \\"]
        for line in block.lines:
            label, *cells = _cells(line, compared)
            lines.append(_row([_in_latex(label), *map(_cell_in_latex, cells)]))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    return "\n".join([*lines, *(f"% {_one_line(each)}" for each in compared.remarks)]) + "\n"


RENDER: dict[str, Callable[[Comparison], str]] = {
    "text": text, "markdown": markdown, "latex": latex,
}  # fmt: skip


def _title(block: Block) -> str:
    return f"{block.benchmark}, {counted(block.questions, 'question')}"


def _heads(compared: Comparison) -> list[str]:
    units = [f"{compared.unit}s"] if compared.unit else []
    costs = ["tokens sampled", "training, s"] if compared.trained else []
    against = f"minus {compared.baseline}, points"
    return ["", *units, "accuracy, %", against, "verdict", *costs]


def _cells(line: Line, compared: Comparison) -> list[str]:
    gap = line.difference
    costs = [
        "–" if line.tokens is None else f"{line.tokens:,.0f}",
        "–" if line.seconds is None else f"{line.seconds:,.1f}",
    ]
    return [
        line.label, *([line.units] if compared.unit else []), _interval(line.accuracy, 0, ""),
        "–" if gap is None else _interval(gap, -1, "+"), line.verdict,
        *(costs if compared.trained else []),
    ]  # fmt: skip


def _interval(found: Estimate, least: float, sign: str) -> str:
    """In per cent or points, within what is feasible."""
    low, high = max(least, found.low), min(1.0, found.high)
    # A rounded zero has no sign of its own.
    value, low, high = (round(100 * each, 1) + 0.0 for each in (found.value, low, high))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _below(compared: Comparison, clean: Callable[[str], str]) -> str:
    return "".join(f"{clean(each)}\n" for each in compared.remarks)


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _in_markdown(text: str) -> str:
    plain = escape(_one_line(text), quote=False)
    return re.sub(r"([|`*_\\])", r"\\\1", plain).replace("](", "]\\(")


def _in_latex(text: str) -> str:
    """A text that LaTeX prints as it is. Signed numbers get a minus, not a hyphen."""
    escaped = "".join(SPECIAL.get(each, each) for each in _one_line(text))
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def _head_in_latex(text: str) -> str:
    """The last word, often a unit, in a line of its own."""
    name, _, unit = _in_latex(text).rpartition(" ")
    return rf"\shortstack[r]{{{name}\\{unit}}}" if name else unit


def _cell_in_latex(text: str) -> str:
    value, bracket, rest = _in_latex(text).partition(" [")
    return rf"{value} {{\tiny [{rest}}}" if bracket and value[-1:].isdigit() else _in_latex(text)


def _row(cells: Iterable[str]) -> str:
    # A cell that begins with a bracket would be an argument of the line break before it.
    return " & ".join(f"{{}}{cell}" if cell[:1] == "[" else cell for cell in cells) + r" \\"
