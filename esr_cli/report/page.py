"""Renders the report as one self-contained HTML file."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from esr_cli.report.content import Report
from esr_cli.report.drawings import inline
from esr_cli.report.probes import View

HERE = Path(__file__).parent
# The number of views of one probe that are shown; the others are collapsed.
OPEN = 2


def page(report: Report) -> str:
    """The complete page, with styles and drawings embedded."""
    setting = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    drawings, tables = count(1), count(1)

    def drawing(path: Path, alt_text: str) -> Markup:
        try:
            return Markup(inline(path, f"drawing-{next(drawings)}", alt_text))
        # The file is truncated or is not a drawing.
        except (ElementTree.ParseError, ValueError, IndexError, RecursionError):
            return Markup('<p class="note">figure broken</p>')

    style = Markup((HERE / "page.css").read_text())
    template = setting.get_template("page.html.j2")
    return template.render(
        report=report, probes=_by_name(report.probes), style=style, drawing=drawing,
        number=lambda: next(tables), slug=_slug, most=OPEN, url=_url,
    )  # fmt: skip


def _by_name(views: list[View]) -> list[list[View]]:
    names = dict.fromkeys(view.name for view in views)
    return [[view for view in views if view.name == name] for name in names]


def _url(path: str) -> str:
    """A relative path as a link. A colon is quoted too, so that none names a protocol."""
    return quote(os.fsencode(path))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
