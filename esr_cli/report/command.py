"""`esr report`: one page about all runs below a folder. It reads files only, without torch."""

from __future__ import annotations

from pathlib import Path

from esr_cli.base.files import write_text
from esr_cli.base.reading import printable
from esr_cli.config import ConfigError, ReportConfig
from esr_cli.report.book import open_book
from esr_cli.report.content import compose
from esr_cli.report.markdown import markdown
from esr_cli.report.page import page
from esr_cli.report.terminal import NAMED, screen
from esr_cli.runs.folder import need_no_links


def run(config: ReportConfig, overrides: list[str]) -> None:
    """Writes report.html, report.md and figures/, or with format=pdf the figures as PDF.

    Raises `ConfigError` if no run is found or nothing can be written.
    """
    folder = Path(config.runs)
    if not folder.is_dir():
        raise ConfigError(f"runs={folder}: no such folder; name one that holds runs of esr train")
    book = open_book(folder)
    unreadable = [f"{place}: unreadable ({reason})" for place, reason in book.unreadable.items()]
    if not book.runs:
        print(printable("\n".join(unreadable)))
        raise ConfigError(
            f"runs={folder}: holds no run (a folder with config.yaml and metrics.jsonl); "
            "run esr train first"
        )
    out = Path(config.run_dir or folder)
    need_no_links("run_dir", [out / "figures", *(out / "figures").glob("*")])
    page_wanted, pdf_wanted = ("html" in config.formats, "pdf" in config.formats)
    kinds = (*(("png", "svg") if page_wanted else ()), *(("pdf",) if pdf_wanted else ()))
    try:
        out.mkdir(parents=True, exist_ok=True)
        report = compose(book, out, config.title or f"Runs in {folder.resolve().name}", kinds)
        if page_wanted:
            write_text(out / "report.html", page(report))
            write_text(out / "report.md", markdown(report))
    except OSError as error:
        raise ConfigError(f"run_dir={out}: cannot be written ({error.strerror})") from None
    open_ = [f"{run.folder.name} ({run.state})" for run in book.runs if run.state != "complete"]
    more = f" and {len(open_) - NAMED} more" if len(open_) > NAMED else ""
    ends = [f"not complete, and so in no table: {', '.join(open_[:NAMED])}{more}"] if open_ else []
    ends += [f"report: {out / 'report.html'}"] if page_wanted else []
    ends += [f"figures: {out / 'figures'}/*.pdf"] if pdf_wanted else []
    print(screen(report.sections, unreadable, report.claims, ends))
