"""Function-calling questions from BFCL's simple_python and multiple."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.types import Question, ToolReference

# BFCL names types after Python; chat templates and APIs expect JSON schema's names.
SCHEMA = {"dict": "object", "float": "number", "tuple": "array", "list": "array", "any": "string"}


def questions(rows: list[Row], answers: list[Row], wording: str) -> list[Question]:
    """Joins `rows` with `answers` by id into questions."""
    allowed = {row.get("id", str): row for row in answers}
    found = []
    for row in rows:
        name = row.get("id", str)
        if name not in allowed:
            raise ConfigError(f"{row.where}: field 'id' is {name}, which has no possible answer")
        found.append(_question(row, allowed[name], wording))
    return found


def _question(row: Row, answer: Row, wording: str) -> Question:
    turns, functions = row.get("question", list), row.get("function", list)
    truth = answer.get("ground_truth", list)
    if len(turns) != 1 or len(truth) != 1 or not isinstance(truth[0], dict):
        raise ConfigError(f"{row.where}: one turn and one call are expected")
    messages = tuple(
        {"role": turn["role"], "content": wording.replace("{problem}", turn["content"])}
        if turn["role"] == "user" else turn
        for turn in turns[0]
    )  # fmt: skip
    return Question(
        id=row.get("id", str),
        messages=messages,
        reference=ToolReference(tuple(functions), truth[0]),
        tools=tuple(offered(schema(function)) for function in functions),
    )


def offered(function: Any) -> dict[str, Any]:
    """Wraps a function's description in the tool format of chat templates."""
    return {"type": "function", "function": function}


def described(tool: Any) -> dict[str, Any] | None:
    """Returns the description of a tool, wrapped or bare, or None without a function name."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    named = isinstance(function, dict) and isinstance(function.get("name"), str)
    return function if named else None


def schema(node: Any) -> Any:
    """Returns a function's description with the type names of JSON schema."""
    if isinstance(node, list):
        return [schema(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    return {
        key: SCHEMA.get(value, value) if key == "type" and isinstance(value, str) else schema(value)
        for key, value in node.items()
    }


def in_text(question: Question, wording: str) -> Question:
    """Writes the functions into the user's last turn, one line of JSON each, and offers them no
    more.
    """
    turns = list(question.messages)
    users = [at for at, turn in enumerate(turns) if turn["role"] == "user"]
    at = users[-1] if users else len(turns) - 1
    filled = {
        "functions": "\n".join(json.dumps(tool["function"]) for tool in question.tools),
        "problem": turns[at]["content"],
    }
    # At once, since either may hold the name of the other.
    text = re.sub(r"\{(functions|problem)\}", lambda name: filled[name[1]], wording)
    turns[at] = {**turns[at], "content": text}
    return replace(question, messages=tuple(turns), tools=())
