"""A stand-in for W&B's server: what W&B's client and `wandb sync` need, and the history they send.

History rows are stored as the client addresses them: by run, from a line offset on. A run that asks
to be resumed is told how many lines there are.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Runs = dict[str, list[dict[str, Any]]]


@contextmanager
def serving(answers: threading.Event | None = None) -> Iterator[tuple[str, Runs]]:
    """The server's address, and the history rows of each run id as they arrive.

    No request is answered before `answers` is set.
    """
    runs: Runs = {}
    bound = type("Bound", (Handler,), {"runs": runs, "answers": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", runs
    server.shutdown()
    server.server_close()


class Handler(BaseHTTPRequestHandler):
    runs: Runs
    answers: threading.Event | None

    def do_POST(self):
        if self.answers:
            self.answers.wait(60)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/graphql"):
            self._answer({"data": self._data(json.loads(body))})
        elif self.path.endswith("/file_stream"):
            sent = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            if sent:
                rows, at = self.runs[self.path.split("/")[-2]], sent["offset"]
                lines = [json.loads(line) for line in sent["content"]]
                rows[at : at + len(lines)] = lines
            self._answer({})
        else:  # telemetry
            self._answer({})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def log_message(self, *_):
        pass

    def _data(self, request):
        [operation] = re.findall(r"^\s*(?:query|mutation) (\w+)", request["query"])[:1]
        given = request.get("variables") or {}
        where = {"id": "p", "name": "esr", "entity": {"id": "e", "name": "me"}}
        if operation == "UpsertBucket":
            self.runs.setdefault(given["name"], [])
            bucket = {"id": "b", "name": given["name"], "displayName": "", "config": "{}"}
            return {"upsertBucket": {"bucket": bucket | {"project": where}, "inserted": True}}
        if operation == "RunResumeStatus":
            rows = self.runs.get(given["name"])
            return {"model": where | {"bucket": rows and _status(given["name"], rows)}}
        if operation == "CreateRunFiles":
            url = f"http://{self.headers['Host']}/file"
            files = [{"name": name, "uploadUrl": url} for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        who = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": who} if operation == "Viewer" else None

    def _answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _status(name, rows):
    return {
        "id": "b", "name": name, "config": "{}", "wandbConfig": '{"t": 1}', "tags": [],
        "summaryMetrics": json.dumps({"_step": rows[-1]["_step"]}), "eventsTail": "[]",
        "historyTail": json.dumps([json.dumps(rows[-1])]), "historyLineCount": len(rows),
        "eventsLineCount": 0, "logLineCount": 0,
    }  # fmt: skip
