"""Settings of `esr push`, which sends a student to the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class PushConfig:
    """Sends the student of a complete `run` to the repository `repo` of the Hugging Face hub.

    A repository that does not exist is created, `private` or public. A LoRA student's adapter is
    sent too, into the folder `adapter`. `dry_run` prints what would be sent, and needs no token.
    """

    run: str = ""
    repo: str = ""
    private: bool = True
    dry_run: bool = False

    def __post_init__(self) -> None:
        need(bool(self.run), "run", self.run, "name the folder of a run of esr train")
        named = re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo)
        need(bool(named), "repo", self.repo, "name a repository of the hub, OWNER/NAME")
