"""The report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from esr_cli.reporting.content import Report
from esr_cli.reporting.drawings import inline

HERE = Path(__file__).parent
# How far a group of like things stands open.
OPEN = 2


def page(report: Report) -> str:
    """The whole page: styles and drawings stand inside."""
    setting = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    count = iter(range(1, 10_000))

    def drawing(path: Path, says: str) -> Markup:
        return Markup(inline(path, f"drawing-{next(count)}", says))

    style = Markup((HERE / "page.css").read_text())
    template = setting.get_template("page.html.j2")
    return template.render(report=report, style=style, drawing=drawing, slug=_slug, most=OPEN)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
