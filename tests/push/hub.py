"""A hub on this machine: the requests of `HfApi` that a push makes, and what it received."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Serves until `close`. `files` are what was committed, by their names in the repository."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.files: dict[str, bytes] = {}
        self.created: dict = {}
        self.tokens: set[str | None] = set()
        self._large: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hub.answer(self)

            do_PUT = do_POST

            def log_message(self, *_: object) -> None:
                """Prints nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if request.path.startswith("/store/"):
            self._large[request.path.rpartition("/")[2]] = body
            return self._send(request, {})
        self.tokens.add(request.headers.get("Authorization"))
        if self.status != 200:
            return self._send(request, {"error": "not\nyours"}, self.status)
        return self._send(request, self._reply(request.path, body))

    def _reply(self, path: str, body: bytes) -> dict:
        if path == "/api/repos/create":
            self.created = json.loads(body)
            return {"url": f"{self.address}/me/student"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.startswith("/api/models/me/student/preupload/"):
            modes = {True: "lfs", False: "regular"}
            return {"files": [
                {"path": each["path"], "shouldIgnore": False, "oid": None,
                 "uploadMode": modes[each["path"].endswith(".safetensors")]}
                for each in json.loads(body)["files"]
            ]}  # fmt: skip
        if path.endswith("/info/lfs/objects/batch"):
            return {"transfer": "basic", "objects": [
                {**each, "actions": {"upload": {"href": f"{self.address}/store/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]}  # fmt: skip
        assert path.startswith("/api/models/me/student/commit/"), path
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self._large[value["oid"]]
        return {"success": True, "commitUrl": f"{self.address}/me/student/commit/{'1' * 40}",
                "commitOid": "1" * 40, "hookOutput": ""}  # fmt: skip

    def _send(self, request: BaseHTTPRequestHandler, value: dict, status: int = 200) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
