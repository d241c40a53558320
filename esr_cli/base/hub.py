"""Whether the Hugging Face hub can be asked: decided once, in two seconds at most, without retries.

Libraries retry for a long time. If the hub is out of reach, this process and those that it starts
use the cache alone, as with HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from esr_cli.base.reading import ConfigError

WAIT_S = 2.0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
PORTS = {"http": 80, "https": 443}


@cache
def out_of_reach() -> str:
    """Why the hub is not asked: it is switched off or does not answer. Empty if it can be asked."""
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name} is set"
    host, port = _address()
    problem = _connect(host, port)
    if not problem:
        return ""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # These have read the variable if they are imported already.
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:
            sys.modules[name].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    return f"{host} is out of reach: {problem}"


def need_model(key: str, path: str, revision: str | None, weights: bool = True) -> None:
    """Raises `ConfigError` if the hub cannot be asked for a model that is not in its cache."""
    reason = out_of_reach()
    if not reason:
        return
    folder, absent = cached_model(path, revision), "the model is"
    if folder:
        found = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        if not weights or any(each.is_file() for each in found):
            return
        absent = "its weights are"
    raise ConfigError(
        f"{key}={path}: {reason}, and {absent} not in the cache; give a folder, or fetch it where "
        "there is a network"
    )


def cached_model(path: str, revision: str | None) -> Path | None:
    """The folder in the cache that holds a hub's model, or at least its config.json; else None."""
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError):  # no name that a hub could have
        found = try_to_load_from_cache(path, "config.json", revision=revision)
        return Path(found).parent if isinstance(found, str) else None
    return None


def knows_data(path: str) -> bool:
    """Whether a data set is on this disk: a folder, or something of it in a cache."""
    from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE

    prepared = os.environ.get("HF_DATASETS_CACHE") or os.path.join(HF_HOME, "datasets")
    places = (
        path, os.path.join(HF_HUB_CACHE, f"datasets--{path.replace('/', '--')}"),
        os.path.join(prepared, path.replace("/", "___")),
    )  # fmt: skip
    return any(map(os.path.isdir, places))


def _address() -> tuple[str, int]:
    """The host and the port to connect to: those of the hub, or of the proxy before it."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    host = hub.hostname or "huggingface.co"
    proxies = getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(host):
        hub = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = hub.hostname or host
    try:
        port = hub.port
    except ValueError:  # not a number
        port = None
    return host, port or PORTS.get(hub.scheme, 1080)


def _connect(host: str, port: int) -> str:
    """Why no connection can be made; empty if one can."""
    found: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), WAIT_S).close()
        except (OSError, UnicodeError) as error:
            found.append(getattr(error, "strerror", None) or str(error))
        else:
            found.append("")

    # In a thread, as nothing limits the time for which a name is looked up.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    return found[0] if found else f"no answer within {WAIT_S:.0f} s"
