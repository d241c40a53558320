"""Asks vLLM servers for hidden states; if one fails, another answers."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch

from esr_cli.base.failures import Failure, one_line
from esr_cli.teacher.canary import Canary, CanaryError

# The environment variable with the key of the servers, which no file of a run may hold.
KEY = "ESR_TEACHER_KEY"
# Tokens and sequences per request: enough to keep a GPU busy, and rows whose description still fits
# into a header of 8 KiB, which proxies cut.
REQUEST_TOKENS, REQUEST_SEQUENCES = 16384, 32
# Statuses of a server that is too busy; and seconds in which an address that failed is asked last.
BUSY, AVOID_S = (408, 429), 60.0
# Seconds before the addresses are tried again: the first, doubled each time up to the last.
PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
# How a vLLM server without the pooling runner, or with another task, refuses a request for states.
STATELESS = (400, 404, 405, 501)
# What a server that is up gets to answer about itself.
DESCRIBE_S = 10.0


class ServerError(Failure):
    """No address answers, or one refuses what is asked."""


@dataclass(frozen=True)
class Served:
    """What a server says of itself: the served name, the model behind it, its longest sequence."""

    url: str
    model: str
    root: str
    max_model_len: int
    version: str


class Servers:
    """Hidden states of token ids from any number of servers that hold the same model.

    `wire` is the dtype of the answers, `float32` or `bfloat16`. A request that fails (no answer
    within `timeout_s`, status 5xx, a canary that is off) goes to the next address, and around all
    of them for `patience_s` seconds. At most `in_flight` requests for each address are open at a
    time. `key` is a bearer token. `warn` takes a line when no address answers.
    """

    def __init__(
        self, urls: Sequence[str], key: str, wire: str, timeout_s: float, patience_s: float,
        in_flight: int, canary: Canary, warn: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(headers=headers, timeout=timeout_s)
        self.urls, self.wire, self.canary = [url.rstrip("/") for url in urls], wire, canary
        self.timeout_s, self.patience_s, self._warn = timeout_s, patience_s, warn
        self._names: dict[str, str] = {}
        # Addresses that failed, and when they failed: they are asked last for a while.
        self._failed_at: dict[str, float] = {}
        # Requests run in threads.
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._failures, self._received, self._waiting = 0, 0, False
        self._pool = ThreadPoolExecutor(in_flight * len(self.urls))

    def describe(self, url: str) -> Served:
        """What the server at an address serves; raises `ServerError` if it does not tell."""
        try:
            models = self._get(url, "v1/models")["data"]
            version = self._get(url, "version").get("version", "")
            first = models[0]
            found = Served(url, first["id"], first["root"], int(first["max_model_len"]), version)
        except httpx.HTTPStatusError as error:
            known = {401: f"wants a key: set {KEY}", 404: "is no vLLM server"}
            status = error.response.status_code
            reason = known.get(status, f"answers with status {status}")
            raise ServerError(f"teacher.urls={url}: {reason}") from None
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            told = one_line(str(error))[:120] or type(error).__name__
            raise ServerError(
                f"teacher.urls={url}: does not answer as a vLLM server ({told}); esr teacher serve "
                "starts one"
            ) from None
        self._names[url] = found.model
        return found

    def states(self, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `StateSource.states`."""
        parts = _requests(sequences, len(self.urls))
        found = self._pool.map(self._ask, itertools.count(), parts)
        return [states for part in found for states in part]

    def states_at(self, url: str, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """The states from one address, in one request; raises `ServerError` if it gives none."""
        try:
            return self._post(url, [list(ids) for ids in sequences])
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in STATELESS:
                raise ServerError(f"teacher.urls={url}: {_told(error, self.timeout_s)}") from None
            raise ServerError(
                f"teacher.urls={url}: answers no hidden states (log-probabilities of a few tokens "
                f"are not enough for an exact loss); start it by esr teacher serve, or with "
                f"--runner pooling ({_told(error, self.timeout_s)})"
            ) from None
        except (httpx.HTTPError, CanaryError) as error:
            raise ServerError(f"teacher.urls={url}: {_told(error, self.timeout_s)}") from None

    def figures(self) -> dict[str, float]:
        """The canary's gap, the requests that failed and were asked again, the MiB received."""
        found = {
            "teacher/canary_gap": self.canary.take(),
            "teacher/failed_requests": float(self._failures),
            "wire/teacher_mib": self._received / 2**20,
        }
        self._failures = self._received = 0
        return found

    def close(self) -> None:
        """Closes the connections, and ends all waiting."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.client.close()

    def _get(self, url: str, path: str) -> Any:
        wait = min(self.timeout_s, DESCRIBE_S)
        return self.client.get(f"{url}/{path}", timeout=wait).raise_for_status().json()

    def _ask(self, number: int, part: list[list[int]]) -> list[torch.Tensor]:
        """One request, to the addresses in turn until one answers or the patience is over."""
        until, pause_s = time.monotonic() + self.patience_s, PAUSE_S
        while True:
            reasons = {}
            for url in self._turns(number):
                try:
                    states = self._post(url, part)
                    self._waiting = False
                    self._failed_at.pop(url, None)
                    return states
                except (httpx.HTTPError, CanaryError, ServerError) as error:
                    reasons[url] = _told(error, self.timeout_s).removeprefix(
                        f"teacher.urls={url}: "
                    )
                    self._refused(url, error)
            told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
            if time.monotonic() + pause_s > until:
                raise ServerError(f"no teacher answers ({told}); start one of teacher.urls again")
            self._tell_once(f"no teacher answers ({told}); asking again")
            if self._closed.wait(pause_s):
                raise ServerError("the run ends")
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _turns(self, number: int) -> list[str]:
        """The addresses in the order in which a request asks them: those that failed come last."""
        first, now = number % len(self.urls), time.monotonic()
        turns = self.urls[first:] + self.urls[:first]
        return sorted(turns, key=lambda url: now - self._failed_at.get(url, -math.inf) < AVOID_S)

    def _refused(self, url: str, error: Exception) -> None:
        """Counts a failure; raises `ServerError` if asking again cannot help."""
        with self._lock:
            self._failures += 1
        self._failed_at[url] = time.monotonic()
        if not isinstance(error, httpx.HTTPStatusError):
            return
        if error.response.status_code == 404:  # restarted with another name, perhaps
            self._names.pop(url, None)
        elif error.response.status_code < 500 and error.response.status_code not in BUSY:
            raise ServerError(f"teacher.urls={url}: {_told(error, self.timeout_s)}") from None

    def _tell_once(self, message: str) -> None:
        """Warns once while no address answers; several requests may wait at a time."""
        if not self._waiting:
            self._waiting = True
            self._warn(message)

    def _post(self, url: str, part: list[list[int]]) -> list[torch.Tensor]:
        if url not in self._names:
            self.describe(url)
        body = {
            "model": self._names[url], "input": [*part, list(self.canary.ids)],
            "task": "token_embed", "use_activation": False, "encoding_format": "bytes",
            "embed_dtype": self.wire, "endianness": "little",
        }  # fmt: skip
        answer = self.client.post(f"{url}/pooling", json=body).raise_for_status()
        *states, canary_LD = _tensors(answer, self.wire)
        with self._lock:
            self._received += len(answer.content)
            self.canary.check(canary_LD)
        if [len(each) for each in states] != list(map(len, part)):
            raise ServerError("returns other numbers of states than tokens")
        return states


def _told(error: Exception, timeout_s: float) -> str:
    """Why a request failed."""
    if isinstance(error, httpx.HTTPStatusError):
        text = one_line(error.response.text)[:200]
        return f"status {error.response.status_code} ({text})"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {timeout_s:g} s"
    return one_line(str(error))[:200] or type(error).__name__


def _requests(sequences: Sequence[Sequence[int]], servers: int) -> Iterator[list[list[int]]]:
    """Consecutive sequences, as many as one request takes; at least one request for each server."""
    most = min(REQUEST_SEQUENCES, -(-len(sequences) // servers))
    part: list[list[int]] = []
    for ids in sequences:
        tokens = sum(map(len, part)) + len(ids)
        if part and (tokens > REQUEST_TOKENS or len(part) == most):
            yield part
            part = []
        part.append(list(ids))
    if part:
        yield part


def _tensors(answer: httpx.Response, wire: str) -> list[torch.Tensor]:
    """The rows of an answer in bytes, which its `metadata` header describes."""
    try:
        rows, kind = json.loads(answer.headers["metadata"])["data"], getattr(torch, wire)
        parts = (answer.content[row["start"] : row["end"]] for row in rows)
        held = (torch.from_numpy(np.frombuffer(part, np.uint8).copy()) for part in parts)
        return [each.view(kind).reshape(row["shape"]) for each, row in zip(held, rows, strict=True)]
    except (ValueError, LookupError, TypeError, RuntimeError) as error:
        raise ServerError(f"its answer cannot be read ({one_line(str(error))[:80]})") from None
