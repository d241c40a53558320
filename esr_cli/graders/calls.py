"""Finds the function calls of an untrusted response, in the forms that models are trained to use.

Thoughts (`<think>…</think>`) and end tokens are ignored. Calls are looked for in this order:

1. after a tag: `<tool_call>`, `<function_call>`, `[TOOL_CALLS]`, `<|python_tag|>`, the marks of
   DeepSeek, Kimi and Phi, and their kin, up to the closing tag, the next tag, or the end of the
   response (the stop token may stand for the closing tag); `<function=f>` and `<invoke name="f">`
   need no tag around them (`call_xml`);
2. in fenced blocks, with prose around them;
3. as the entire response;
4. as objects or calls that begin a line of prose.

Each is JSON (`call_json`), Python (`call_python`), or a name followed by an object. The time is
linear in the length: of a response of at most `MAX_RESPONSE_CHARS` characters, not counting its
thoughts, at most `MAX_CHARS` characters and `MAX_DEPTH` levels of nesting are parsed, and a number
must be finite as a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from esr_cli.graders.call_json import calls_of, json_calls, object_of
from esr_cli.graders.call_python import NO_CALL, python_calls, python_value
from esr_cli.graders.call_types import MAX_CHARS, Call, CallError, decode
from esr_cli.graders.call_xml import is_xml, xml_calls

END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>",
    "<|user|>", "<|observation|>", "</s>", "<eos>", 
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<end_of_turn>", "<pad>",
)  # fmt: skip
TAG = re.compile(
    r"</?(?:tools?|tool_calls?|tool_use|tool_code|functions|function_?calls?)>"
    r"|<\|/?tool_calls?(?:_start|_begin|_end)?\|>|\[/?TOOL_CALLS\]|<\|python_tag\|>",
    re.I,
)
MAX_RESPONSE_CHARS = 1_000_000
# The marks of other models, each with the tag or the blank that stands for it.
MARKS = [
    (re.compile(pattern), tag)
    for pattern, tag in (
        # U+FF5C and U+2581 are the bar and the blank of DeepSeek's tokens.
        ("<\uff5ctool\u2581calls?\u2581begin\uff5c>(?:function(?=<))?", "<tool_call>"),
        ("<\uff5ctool\u2581calls?\u2581end\uff5c>", "</tool_call>"),
        ("<\uff5ctool\u2581sep\uff5c>|<\\|tool_call_argument_begin\\|>", " "),
        (r"<\|tool_calls_section_(?:begin|end)\|>", ""),
        (r"(<\|tool_call_begin\|>\s{0,9})functions\.([\w.-]{1,200}):\d{1,9}", r"\1\2"),
        (r"^\s{0,9}functools(?=\[)", ""),
    )
]
NAMED_OBJECT = re.compile(r"([A-Za-z_][\w.-]{0,199})\s{0,9}(?:\[ARGS\]|```\w{0,9})?\s{0,9}(?=\{)")
# What Markdown puts around a line; no call begins or ends with it.
MARKUP = " \t\r*_`>“”"
CALL_LINE = re.compile(r"\[?(?:[A-Za-z_]\w{0,99} = )?[A-Za-z_][\w.]{0,199}\(.*\)\]?[.;]?")
OBJECT_LINE = re.compile(r"\[?\s{0,9}\{")


def read_calls(response: str) -> list[Call]:
    """Returns all calls; raises CallError if there is none or any part is unreadable."""
    text = _without_end_tokens(response.rpartition("</think>")[2].partition("<think>")[0])
    _need_short(text, most=MAX_RESPONSE_CHARS)
    for mark, tag in MARKS:
        text = mark.sub(tag, text)
    try:
        calls = _tagged(text) or _fenced(text) or _whole(text)
    except (RecursionError, MemoryError):
        # Python's JSON and AST parsers raise these on deeply nested text.
        raise CallError("nested too deep") from None
    if not calls:
        raise CallError("no call")
    return calls


def canonical(name: str, arguments: Mapping[str, Any]) -> str:
    """Returns the same string for equal calls: the name, then the arguments as sorted JSON."""
    return f"{name} {json.dumps(_with_tuples_tagged(arguments), sort_keys=True)}"


def _with_tuples_tagged(value: Any) -> Any:
    """Marks tuples, because BFCL distinguishes a tuple from a list."""
    if isinstance(value, Mapping):
        return {key: _with_tuples_tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_with_tuples_tagged(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _without_end_tokens(text: str) -> str:
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        token = next((each for each in END_TOKENS if text.endswith(each, 0, end)), None)
        if token is None:
            return text[:end]
        end -= len(token)


def _tagged(text: str) -> list[Call]:
    """The calls behind tags; none if there is no tag."""
    tags = list(TAG.finditer(text))
    if not tags:
        if not is_xml(text):
            return []
        _need_short(text)
        return xml_calls(text)
    ends = [*(tag.start() for tag in tags[1:]), len(text)]
    bodies = [
        text[tag.end() : end].strip() for tag, end in zip(tags, ends, strict=True) if _opens(tag)
    ]
    if not _opens(tags[0]):
        # The prompt, or a lost token, may have held the opening tag.
        bodies.insert(0, text[: tags[0].start()].strip())
    _need_short(*bodies)
    calls = [call for body in bodies if body for call in _calls(_unfenced(body))]
    if not calls:
        raise CallError("no call")
    return calls


def _opens(tag: re.Match[str]) -> bool:
    return "/" not in tag[0] and not tag[0].endswith("_end|>")


def _fenced(text: str) -> list[Call]:
    """The calls in fenced blocks, and those that begin a line around them; none if no block."""
    blocks: list[list[str]] = []
    prose: list[str] = []
    inside = False
    for line in text.split("\n"):
        if line.lstrip(" ").startswith("```"):
            inside = not inside
            blocks += [[]] if inside else []
        else:
            (blocks[-1] if inside else prose).append(line)
    bodies = [body for block in blocks if (body := "\n".join(block).strip())]
    _need_short(*bodies)
    calls = [call for body in bodies for call in _calls_if_any(body) or _line_calls(body)]
    around = "\n".join(prose)
    return calls + _line_calls(around) if calls and len(around) <= MAX_CHARS else calls


def _whole(text: str) -> list[Call]:
    """The calls of a response that is nothing else, or that begin a line of its prose."""
    text = _unfenced(text)
    _need_short(text)
    try:
        return _calls(text)
    except CallError as error:
        calls = _line_calls(text)
        if not calls:
            raise error from None
        return calls


def _line_calls(text: str) -> list[Call]:
    """The objects and Python calls that begin a line; lines of prose are left out."""
    calls: list[Call] = []
    at = 0
    while at < len(text):
        end = _line_end(text, at)
        line = text[at:end].strip(MARKUP)
        if OBJECT_LINE.match(line):
            value, stop = decode(text, text.index(line[0], at))
            end = _line_end(text, stop)
            if text[stop:end].strip(" \t\r.,;"):
                raise CallError("malformed JSON")
            calls += calls_of(value)
        elif CALL_LINE.fullmatch(line):
            calls += _calls_if_any(line)
        at = end + 1
    return calls


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return end if end >= 0 else len(text)


def _calls_if_any(text: str) -> list[Call]:
    """The calls of the text; none if it is something else, such as a call's result."""
    try:
        return _calls(text)
    except CallError as error:
        if str(error) != NO_CALL:
            raise
        return []


def _need_short(*texts: str, most: int = MAX_CHARS) -> None:
    if sum(map(len, texts)) > most:
        raise CallError("too long")


def _unfenced(text: str) -> str:
    text = text.strip()
    if text.startswith("```"):
        language, newline, rest = text[3:].partition("\n")
        if newline and language.strip().isidentifier():
            text = rest
    return text.strip("` \t\r\n")


def _calls(text: str) -> list[Call]:
    """The calls of a text that is nothing else."""
    if not text:
        raise CallError("no call")
    if is_xml(text):
        return xml_calls(text)
    if OBJECT_LINE.match(text):
        try:
            return json_calls(text)
        except CallError as error:
            if str(error) != "malformed JSON":
                raise
            return _python_objects(text, error)
    if named := NAMED_OBJECT.match(text):
        return [Call(named[1], object_of(text[named.end() :].strip("` \t\r\n")))]
    return python_calls(text)


def _python_objects(text: str, error: CallError) -> list[Call]:
    """The calls of objects that are Python, with single quotes or a trailing comma."""
    try:
        value = python_value(text)
    except CallError:
        raise error from None
    return calls_of(value)
