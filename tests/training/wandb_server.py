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
        history: Run id → the lines of its history, each at the place that it was sent for.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.history: dict[str, list[dict[str, Any]]] = {}
        received, history = self.received, self.history

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
                    reply = {"data": answer_query(json.loads(body), host, history)}
                elif self.path.endswith("/file_stream"):
                    take_history(json.loads(body), history.setdefault(self.path.split("/")[-2], []))
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


def take_history(sent: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Put lines where they were sent for, as the server does: over what stands there."""
    chunk = (sent.get("files") or {}).get("wandb-history.jsonl")
    if chunk:
        new = [json.loads(line) for line in chunk["content"]]
        lines[chunk["offset"] : chunk["offset"] + len(new)] = new


def answer_query(
    query: dict[str, Any], host: str, history: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The least that wandb's client needs to go on."""
    text, variables = query["query"], query.get("variables") or {}
    if "RunResumeStatus" in text:
        return {"model": resume_status(variables["name"], history)}
    if "upsertBucket" in text:
        name = variables["name"]
        entity = {"id": "e", "name": "someone"}
        project = {"id": "p", "name": variables["project"], "entity": entity}
        bucket = {"id": "r", "name": name, "displayName": name, "description": ""}
        bucket |= {"config": "{}", "sweepName": None, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "upsertSweep" in text:
        entity = {"id": "e", "name": "someone"}
        project = {"id": "p", "name": variables["projectName"], "entity": entity}
        return {"upsertSweep": {"sweep": {"name": "a_sweep", "project": project}}}
    if "viewer" in text:
        return {"viewer": {"id": "u", "entity": "someone", "flags": "{}", "teams": {"edges": []}}}
    if "rtifact" in text:
        return answer_artifact(text, variables, host)
    if "createRunFiles" in text:
        files = [{"name": f, "uploadUrl": f"{host}/file/{f}"} for f in variables["files"]]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
    return {}


def answer_artifact(text: str, variables: dict[str, Any], host: str) -> dict[str, Any]:
    """A new artefact, whose every file is wanted."""
    manifest = {"file": {"id": "f", "uploadUrl": f"{host}/file/manifest", "uploadHeaders": []}}
    if "createArtifactFiles" in text:
        wanted = [file["name"] for file in variables["input"]["artifactFiles"]]
        common = {"storagePath": "s", "uploadHeaders": [], "uploadMultipartUrls": None}
        nodes = [
            common | {"uploadUrl": f"{host}/file/artifact/{name}", "artifact": {"id": "a"}}
            for name in wanted
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
    if "createArtifactManifest" in text:
        return {"createArtifactManifest": {"artifactManifest": manifest | {"id": "m"}}}
    if "updateArtifactManifest" in text:
        return {"updateArtifactManifest": {"artifactManifest": manifest}}
    if "commitArtifact" in text:
        return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
    sequence = {"latestArtifact": None}
    artifact = {"id": "a", "state": "PENDING", "artifactSequence": sequence}
    return {"createArtifact": {"artifact": artifact}}


def resume_status(name: str, history: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """What the server knows of an earlier run of that id."""
    if name not in history:
        return None
    lines = history[name]
    bucket = {"id": "r", "name": name, "summaryMetrics": "{}", "displayName": name, "config": "{}"}
    bucket |= {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0}
    bucket |= {"historyTail": json.dumps([json.dumps(line) for line in lines[-1:]])}
    bucket |= {"eventsTail": "[]", "tags": [], "wandbConfig": json.dumps({"t": 1})}
    return {"id": "p", "name": "p", "entity": {"id": "e", "name": "someone"}, "bucket": bucket}
