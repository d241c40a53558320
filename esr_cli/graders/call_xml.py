"""Function calls written with tags, whose values are text.

- Qwen3-Coder and Qwen3.5: `<function=f><parameter=x>1</parameter></function>`; a closing tag may
  be missing. MiniMax and Anthropic: `<invoke name="f"><parameter name="x">1</parameter></invoke>`.
  Llama: `<function=f>{"x": 1}</function>`.
- GLM: `f<arg_key>x</arg_key><arg_value>1</arg_value>`.
"""

from __future__ import annotations

import re

from esr_cli.graders.call_json import object_of
from esr_cli.graders.call_types import Call, CallError, Untyped, dict_of

_NAMED = r"""(?:="?([^">\s][^">\n]{0,199})"?|\s{1,9}name="([^"\n]{1,200})")>"""
FUNCTION = re.compile(r"<(?:function|invoke)" + _NAMED)
PARAMETER = re.compile(r"<parameter" + _NAMED)
FUNCTION_END = re.compile(r"</(?:function|invoke)>")
GLM_KEY = re.compile(r"<arg_key>([^<]{1,200})</arg_key>\s{0,9}<arg_value>")
GLM_NAME = re.compile(r"[\w.-]{1,200}")


def is_xml(text: str) -> bool:
    """Whether the text holds the opening tag of a function or of an argument."""
    return bool(FUNCTION.search(text) or GLM_KEY.search(text))


def xml_calls(text: str) -> list[Call]:
    """The calls of the text; prose around the tags is ignored."""
    starts = list(FUNCTION.finditer(text))
    if not starts:
        return [_glm_call(text)]
    calls = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)]
        calls.append(_call(start[1] or start[2], FUNCTION_END.split(body, maxsplit=1)[0]))
    return calls


def _call(name: str, body: str) -> Call:
    parts = list(PARAMETER.finditer(body))
    if not parts:
        inside = body.strip()
        return Call(name.strip(), object_of(inside) if inside else {})
    pairs = []
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        value = body[part.end() : following.start() if following else len(body)]
        pairs.append(((part[1] or part[2]).strip(), _value(value, "</parameter>")))
    return Call(name.strip(), dict_of(pairs))


def _glm_call(text: str) -> Call:
    keys = list(GLM_KEY.finditer(text))
    name = GLM_NAME.fullmatch(text[: keys[0].start()].strip())
    if name is None:
        raise CallError("function without a name")
    pairs = []
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        value = text[key.end() : following.start() if following else len(text)]
        pairs.append((key[1].strip(), _value(value, "</arg_value>")))
    return Call(name[0], dict_of(pairs))


def _value(text: str, end: str) -> Untyped:
    """The text up to the last `end`, without the line breaks that the form puts around it."""
    value = text.rpartition(end)[0] if end in text else text
    return Untyped(value.removeprefix("\n").removesuffix("\n"))
