"""Executes a notebook and writes its outputs into it:

python scripts/execute_notebook.py examples/first_hour.ipynb
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

# Seconds that a cell may take.
LONGEST_S = 900


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook as it is after all of its cells were executed, in order, in `folder`.

    Raises `nbclient.exceptions.CellExecutionError` if a cell fails.
    """
    # For `!esr`, where the environment is not activated.
    path_of = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    book = nbformat.read(path, as_version=4)
    # One output for all lines that a cell prints, and no times: it changes as the results do.
    client = NotebookClient(
        book, timeout=LONGEST_S, coalesce_streams=True, record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    return client.execute(env={**os.environ, "PATH": path_of})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        book = executed(Path(sys.argv[1]), Path(temporary))
    nbformat.write(book, sys.argv[1])
