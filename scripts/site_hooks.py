"""What MkDocs does besides for the site: files outside docs/, and the notebook as a page.

The pages link to files of the repository as they lie there, so that the links work on a code host
too. A file outside docs/ that a page links to is copied into the site, and the link leads there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
NOTEBOOK, NOTEBOOK_PAGE = "examples/first_hour.ipynb", "examples/first_hour.md"
# Pages that lie at the top of the repository.
TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
# Where the site has what the repository has elsewhere.
MOVED = {NOTEBOOK: NOTEBOOK_PAGE, "README.md": "README.md"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)\s#]+")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the top folder, the notebook, and the files that pages link to."""
    texts = {DOCS + each.src_uri: each.content_string for each in files.documentation_pages()}
    texts |= {name: (ROOT / name).read_text() for name in TOP}
    linked = {_target(page, link) for page, text in texts.items() for link in LINK.findall(text)}
    outside = {each for each in linked if not each.startswith(DOCS)} - {*MOVED}
    # A link to no file is one that MkDocs reports.
    for name in sorted({*outside, *TOP, NOTEBOOK}):
        if (ROOT / name).is_file():
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for name, content in _notebook().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between those of the site."""
    name = page.file.src_uri
    source = DOCS + name if (ROOT / DOCS / name).is_file() else name

    def of_site(link: re.Match[str]) -> str:
        target = _target(source, link[0])
        target = MOVED.get(target, target.removeprefix(DOCS))
        return posixpath.relpath(target, posixpath.dirname(name) or ".")

    return LINK.sub(of_site, markdown)


def _target(page: str, link: str) -> str:
    """The path in the repository of a link on a page of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _notebook() -> dict[str, Any]:
    """The executed notebook as a page and its figures, by their paths in the site."""
    book = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    text, parts = MarkdownExporter().from_notebook_node(book, {"unique_key": "first_hour"})
    text += f'\n<a href="{Path(NOTEBOOK).name}" download>This page as a notebook</a>\n'
    figures = {f"{Path(NOTEBOOK).parent}/{name}": data for name, data in parts["outputs"].items()}
    return {NOTEBOOK_PAGE: text, **figures}
