"""`esr report`: one page about all runs below a folder. It reads files only, without torch."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from esr_cli.base.files import write_text
from esr_cli.base.reading import printable
from esr_cli.config import ConfigError, ReportConfig
from esr_cli.report.book import open_book
from esr_cli.report.claims import Judged
from esr_cli.report.content import compose
from esr_cli.report.markdown import markdown
from esr_cli.report.page import page
from esr_cli.report.verdicts import DOES_NOT, EQUIVALENT, SHOWS
from esr_cli.runs.folder import need_no_links

COLOURS = {SHOWS: "green", DOES_NOT: "red", EQUIVALENT: "red"}


def run(config: ReportConfig, overrides: list[str]) -> None:
    """Writes report.html, report.md and figures/; raises `ConfigError` if no run is found."""
    folder = Path(config.runs)
    if not folder.is_dir():
        raise ConfigError(f"runs={folder}: no such folder; name one that holds runs of esr train")
    book = open_book(folder)
    for place, reason in book.unreadable.items():
        print(printable(f"{place}: unreadable ({reason})"))
    if not book.runs:
        raise ConfigError(
            f"runs={folder}: holds no run (a folder with config.yaml and metrics.jsonl); "
            "run esr train first"
        )
    out = Path(config.run_dir or folder)
    need_no_links("run_dir", [out / "figures", *(out / "figures").glob("*")])
    try:
        out.mkdir(parents=True, exist_ok=True)
        report = compose(book, out, config.title or f"Runs in {folder.resolve().name}")
        write_text(out / "report.html", page(report))
        write_text(out / "report.md", markdown(report))
    except OSError as error:
        raise ConfigError(f"run_dir={out}: cannot be written ({error.strerror})") from None
    _print(report.judged)
    for note in report.notes:
        print(note)
    print(printable("\n".join(report.summary)))
    print(f"report: {out / 'report.html'}")


def _print(judged: list[Judged]) -> None:
    table = Table(title="The paper's claims", title_justify="left")
    for heading in ("claim", "paper", "ours", "could show", "verdict"):
        table.add_column(heading)
    for each in judged:
        claim = f"{each.statement}\n{each.what}" if each.what else each.statement
        colour = COLOURS.get(each.verdict, "")
        cells = (claim, each.paper.split(" (")[0], each.ours, each.could, each.verdict)
        table.add_row(*map(printable, cells), style=colour)
    # The brackets of intervals are not markup.
    Console(markup=False, highlight=False).print(table)
