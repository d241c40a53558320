"""Time limits of calls grow with what is asked, and allow several times what a laptop needs."""

from __future__ import annotations

import dataclasses

from esr_cli.assembly.patience import Limits
from esr_cli.types import Prompt, Rollout, Sampling


def test_limits_grow_with_tokens_and_parameters():
    small, large = Limits(0.001, "cpu", 1.0), Limits(1.5, "cpu", 1.0)
    prompts = [Prompt(str(n), "", (1,) * 50, (1,) * 60) for n in range(4)]
    short = Sampling(16, samples=2)
    calls = [
        ("generate", ([(prompts, short)],)),
        ("generate", ([(prompts, dataclasses.replace(short, max_tokens=1024))],)),
        ("generate", ([(prompts, dataclasses.replace(short, lengths=(1,) * 7 + (9000,)))],)),
    ]
    both = ("generate", ([(prompts, short), (prompts, short)],))
    assert large(*calls[0]) < large(*both) < 2 * large(*calls[0])
    for limits in (small, large):
        found = [limits(*call) for call in calls]
        assert found == sorted(found) and found[0] >= 900
    # A 1.5B model in fp32 reads 6 GB for each token, which takes a laptop about half a second.
    assert large(*calls[1]) > 3 * 0.5 * 8 * 1024
    rollout = Rollout(prompts[0], 0, (1,) * 500, (0.0,) * 500, "stop")
    assert large("score", ([rollout] * 8,)) > large("score", ([rollout],)) > 900
    assert large("start", ()) > small("start", ()) >= 1800
    assert large("load_again", ()) > small("load_again", ()) >= small("head", ()) == 900
    patient = dataclasses.replace(large, device="cuda:1", factor=10.0)
    assert patient("head", ()) == 9000 and patient(*calls[0]) < 10 * large(*calls[0])
