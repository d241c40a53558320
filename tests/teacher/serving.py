"""vLLM servers for tests, started by `esr teacher serve`, and one that damages their answers."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from conftest import ROOT, free_port

from esr_cli.base import process


class Server:
    """`esr teacher serve pair=lab` on a port; `start` waits until it is ready."""

    def __init__(self, folder: Path, key: str = "") -> None:
        self.port, self.folder, self.key = free_port(), folder, key
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if self.key:
            environment["ESR_TEACHER_KEY"] = self.key
        command = [sys.executable, "-m", "esr_cli.cli", "teacher", "serve", "pair=lab",
                   f"port={self.port}"]  # fmt: skip
        self.log = (self.folder / "server.log").open("a")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=self.log,
            text=True,
        )  # fmt: skip
        return self

    def ready(self) -> Server:
        """Waits until the command says how to train with it."""
        assert self.process.stdout
        for line in self.process.stdout:
            if "teacher.urls=" in line:
                self.line = line.strip()
                return self
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        """Kills the server at once, with all its processes."""
        if self.process.returncode is not None:
            return
        process.kill_tree(self.process.pid)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self.log.close()


@contextmanager
def damaging(url: str, damage: Callable[[httpx.Response], tuple[int, bytes]]) -> Iterator[str]:
    """The address of a server that passes all on, and damages answers with states."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(url + self.path)
            self._answer(answer.status_code, answer.content, "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(url + self.path, content=body, headers=headers)
            self._answer(*damage(answer), answer.headers.get("metadata", ""))

        def _answer(self, status: int, content: bytes, metadata: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("metadata", metadata)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
