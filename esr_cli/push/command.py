"""`esr push`: sends a run's student, its model card and its adapter to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esr_cli.base import reading
from esr_cli.base.failures import Failure, summary
from esr_cli.base.words import counted
from esr_cli.config import ConfigError, PushConfig
from esr_cli.config.errors import need_folder
from esr_cli.runs import card
from esr_cli.runs.folder import need_no_links

MIB = 2**20
LOG_IN = "hf auth login, or set HF_TOKEN"
# A file of the repository by its name: a file of the run, or a text made here.
Content = Path | bytes


def run(config: PushConfig, overrides: list[str]) -> None:
    """Sends the files in one commit; raises `ConfigError` before anything is sent, or if the hub
    refuses the token, and `Failure` if the hub cannot be reached or refuses the files.
    """
    content = collect(Path(config.run), config.repo)
    sizes = {name: len(each) if isinstance(each, bytes) else each.stat().st_size
             for name, each in content.items()}  # fmt: skip
    whole = f"{counted(len(content), 'file')}, {sum(sizes.values()) / MIB:.1f} MiB"
    if config.dry_run:
        for name, size in sizes.items():
            print(f"{_shown(size):>12}  {reading.printable(name)}")
        print(f"would send {whole}, to {config.repo}; nothing is sent")
        return
    from huggingface_hub import get_token

    if not get_token():
        raise ConfigError(f"repo={config.repo}: no token of the hub was found; {LOG_IN}")
    print(f"sending {whole}, to {config.repo}", flush=True)
    print(f"sent: {_sent(config, content)}")


def collect(folder: Path, repo: str) -> dict[str, Content]:
    """What `repo` shall hold, by its names there: `student/` at the top, and `adapter/`.

    The card is the one beside the student with the repository's name in it, unless it was edited.
    Raises `ConfigError` if the run is not complete, or holds links, which could lead anywhere.
    """
    need_folder("run", folder, "name one that esr train made")
    student, adapter = folder / "student", folder / "adapter"
    if not (folder / "summary.json").is_file() or not (student / "config.json").is_file():
        raise ConfigError(f"run={folder}: holds no complete run; name one, or complete it with "
                          f"esr train resume={folder}")  # fmt: skip
    need_no_links("run", (student, adapter))
    content: dict[str, Content] = {}
    for place, prefix in ((student, ""), (adapter, "adapter/")):
        entries = sorted(place.iterdir()) if place.is_dir() else []
        need_no_links("run", entries)
        content |= {f"{prefix}{each.name}": each for each in entries if each.is_file()}
    # peft's card of the adapter is an empty form.
    content.pop("adapter/README.md", None)
    path = student / card.NAME
    if not path.is_file() or reading.text(path) == card.text(folder):
        content[card.NAME] = card.text(folder, repo).encode()
    return content


def _shown(size: int) -> str:
    """A size in the unit that suits it."""
    if size < 1024:
        return f"{size} bytes"
    return f"{size / MIB:.1f} MiB" if size >= MIB / 10 else f"{size / 1024:.1f} KiB"


def _sent(config: PushConfig, content: Mapping[str, Content]) -> str:
    """Creates the repository if it is new, and commits the files; returns its address."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    api, key = HfApi(), f"repo={config.repo}"
    operations: list[Any] = [
        CommitOperationAdd(name, str(each) if isinstance(each, Path) else each)
        for name, each in content.items()
    ]
    try:
        made = api.create_repo(config.repo, private=config.private, exist_ok=True)
        api.create_commit(made.repo_id, operations, commit_message="Student distilled by esr")
    except HFValidationError as error:
        raise ConfigError(f"{key}: is no name of a repository ({error}); give OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        answer = f"{status}, {error.server_message or error.response.reason_phrase}"
        if status in (401, 403):
            raise ConfigError(f"{key}: the hub refuses the token ({answer}); {LOG_IN}") from None
        raise Failure(f"{key}: the hub refused it ({answer})") from None
    except (HTTPError, OSError) as error:
        reason = f"the hub cannot be reached ({summary(error)})"
        raise Failure(f"{key}: {reason}; the same command tries again") from None
    except (ValueError, LookupError) as error:
        raise Failure(f"{key}: no hub answers at {api.endpoint} ({summary(error)})") from None
    return str(made)
