"""A server that stands in for W&B's, takes all that an online run sends, and keeps it."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer:
    """Listens on this machine while it is open (a context manager).

    Attributes:
        received: Every request: its line, headers and (unpacked) body.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received.append(f"{self.requestline}\n{self.headers}".encode() + body)
                reply: dict[str, Any] = {"exitcode": None, "limits": {}}
                if self.path == "/graphql":
                    host = f"http://{self.headers['Host']}"
                    reply = {"data": answer_query(json.loads(body), host)}
                text = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away ends a connection; that is no matter here."""


def answer_query(query: dict[str, Any], host: str) -> dict[str, Any]:
    """The least that wandb's client needs to go on."""
    text, variables = query["query"], query.get("variables") or {}
    if "upsertBucket" in text:
        name = variables["name"]
        entity = {"id": "e", "name": "someone"}
        project = {"id": "p", "name": variables["project"], "entity": entity}
        bucket = {"id": "r", "name": name, "displayName": name, "description": ""}
        bucket |= {"config": "{}", "sweepName": None, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "createRunFiles" in text:
        files = [{"name": f, "uploadUrl": f"{host}/file/{f}"} for f in variables["files"]]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
    return {}
