"""Asks for the key on every path of a vLLM server, whose own key guards only a part of them."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
OPEN = ("/health",)
# The environment variable in which `esr teacher serve` gives the server its key.
SERVED_KEY = "VLLM_API_KEY"


class Guard:
    """ASGI middleware: answers 401 to requests without the bearer token."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self.wanted = f"Bearer {os.environ[SERVED_KEY]}".encode()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN:
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, self.wanted):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"wants a key"})
