"""Extraction of code from responses."""

from __future__ import annotations

import time

import pytest

from esr_cli.graders import extract, harness

PROMPT = 'import math\n\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x):\n    """ One more. """\n'
WHOLE = "def f(x):\n    return helper(x)\n"
DRAFT = "def f(x):\n    return 0\n"


@pytest.mark.parametrize(
    "response",
    [
        "    return helper(x)\n",
        "return helper(x)",
        "y = helper(x)\n    return y",
        "    return helper(x)\n\nThis adds one to x.",
        "    return helper(x)\n\n\nassert f(3) == 0\n",
        "    return later(x)\n\n\ndef later(x):\n    return x + 1\n\n\nprint(f(input()))\n",
        "    return helper(x)\n\n\ndef g(x):\n    retur",
        WHOLE,
        PROMPT + "    return helper(x)\n",
        f"Sure!\n\n{WHOLE}\nThis adds one to x.",
        f"```python\n{WHOLE}```",
        f"```\n{WHOLE}```\n",
        f"```py\n{WHOLE}",
        f"Words.\n```python\n{WHOLE}```\nUse it:\n```python\nprint(f(1))\n```\n",
        f"A draft:\n```python\n{DRAFT}```\nBetter:\n```python\n{WHOLE}```\n",
        f"```python\n{WHOLE}```\nOr shorter:\n```python\ndef f(x):\n    return (helper(",
        f"Run `pip`:\n```bash\nls\n```\n```Python\n{WHOLE}```",
        "1. Write\n   ```python\n   def f(x):\n       return helper(x)\n   ```\n",
        "```python\n    return helper(x)\n```",
        f"{WHOLE}```\nThat was it.\n",
        "So:\n\n    def f(x):\n        return helper(x)\n\nThis adds one.\n",
        "```python\ndef f(x):\n    return more(x)\n```\nwhere\n"
        "```python\ndef more(x):\n    return x + 1\n```",
        f"<think>\n```python\n{DRAFT}```\n</think>\n```python\n{WHOLE}```",
        "```python\nfrom __future__ import annotations\ndef f(x):\n    return x + 1\n```",
        "```python\nf = lambda x: helper(x)\n```",
        '```python\nclass f:\n    def __new__(cls, x):\n        return math.floor(x + 1)\n```',
    ],
)  # fmt: skip
def test_the_function_is_found(response):
    programs = extract.programs(response, PROMPT, "f")
    scope: dict = {}
    exec(harness.compile_first(programs), scope)
    assert scope["f"](4) == 5


ADDS = "return x + 1"
FENCED = [
    # What CommonMark reads: list items, indented closing fences, attributes, tildes, quotes.
    f"1. Write\n   ```python\n   # First.\n   def f(x):\n       {ADDS}\n   ```\n",
    f"- Write\n\n    ```python\n    ONE = 1\n    def f(x):\n        {ADDS}\n    ```\n",
    f'```python\ndef f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n    {ADDS}\n```\n',
    f'```python\ndef f(x):\n    s = """\n```\n"""\n    {ADDS}\n```\n',
    f"```{{.python .numberLines}}\n{WHOLE}```",
    f"~~~py3\n{WHOLE}~~~",
    f"> ```py\n> def f(x):\n>     {ADDS}\n",
    # Blocks that belong together, and blocks that do not.
    "```python\nimport os\n```\nand\n```python\ndef f(x):\n    return x + len(os.sep)\n```",
    "```python\ndef add(x):\n    return x + 1\n```\n```\ndef f(x):\n    return add(x)\n```",
    f"```python\nprint(f(1))\n```\nneeds\n```python\n{WHOLE}```",
    f"```python\nhelper = None\nf(1)\n```\n```python\n{WHOLE}```",
    # Characters at which Python's splitlines cuts.
    *(f"```python\ndef f(x):\n    s = '{c}'\n    {ADDS}\n```" for c in "\u2028\x0b\x0c\x85"),
    f"\ufeff{WHOLE}",
    f"```python\n\ufeff{WHOLE}```",
    f"```python\n{WHOLE}```".replace("\n", "\r\n"),
    # Prose that begins like code.
    f"if we add one, we are done:\n\n{WHOLE}\nfor example, f(3) is 4.",
    f"import the helper first:\n\n{WHOLE}\nwith it, f(3) is 4.",
    "y = helper(x)\nreturn y\n\nThis adds one.",
    # Other ways to bind the name.
    "```python\nf: object = lambda x: x + 1\n```",
    f"```python\nimport os\ntry:\n    def f(x):\n        {ADDS}\nfinally:\n    pass\n```",
    "```python\nif True:\n    f = lambda x: x + 1\n```",
    "```python\ng, f = 0, lambda x: x + 1\n```",
    "```python\ng = lambda x: x + 1\nglobals()['f'] = g\n```",
]


@pytest.mark.parametrize("response", FENCED)
def test_the_function_is_found_as_a_reader_of_markdown_finds_it(response):
    test_the_function_is_found(response)


def test_long_and_deep_markdown_takes_linear_time():
    began = time.process_time()
    for part in ("> ", "- ", "```\n", "    ", "[a]: b\n", "*", "1. ", "`" * 50 + "\n", "<a\n"):
        extract.programs(part * 100_000, PROMPT, "f")
    # Quadratic time is minutes.
    assert time.process_time() - began < 30


def test_an_empty_response_has_no_code():
    assert extract.programs("", PROMPT, "f") == extract.programs(" \n\n", PROMPT, "f") == []
