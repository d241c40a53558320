"""Extraction of code from responses."""

from __future__ import annotations

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


def test_an_empty_response_has_no_code():
    assert extract.programs("", PROMPT, "f") == extract.programs(" \n\n", PROMPT, "f") == []
