"""An upstream that keeps objects as OpenAI does, for every account of its one key: what one may see, it would show to all."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

PREFIXES = {
    "files": "file-",
    "uploads": "upload_",
    "batches": "batch_",
    "vector_stores": "vs_",
    "conversations": "conv_",
}


@dataclass(slots=True)
class Keeper:
    """`calls`: method and path of each request; `objects` by id, `contents` of files. `ending`: what a batch becomes when it
    is looked at, None: nothing yet. `refuses`: a status for each next POST; 0: the connection breaks once it is made, -1:
    before.
    """

    port: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    ending: dict[str, Any] | None = None
    refuses: list[int] = field(default_factory=list)
    below: dict[str, Any] = field(default_factory=dict)
    """What every call about what hangs on an object says too."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def make(self, family: str, fields: dict[str, Any]) -> dict[str, Any]:
        id = PREFIXES.get(family, "obj_") + uuid4().hex
        made = {"id": id, "object": family, "created_at": 1, "status": "in_progress", **fields}
        self.objects[id] = made
        return made

    def _answer_all(self, method: str, family: str, fields: dict[str, Any], file: bytes | None) -> tuple[int, Any]:
        if method == "GET":
            return 200, {"object": "list", "data": [item for item in self.objects.values() if item["object"] == family]}
        status = self.refuses.pop(0) if self.refuses else 200
        if status >= 400:
            return status, {"error": {"message": "No.", "type": "invalid_request_error", "code": "nope"}}
        if status < 0:
            return 0, {}
        made = self.make(family, fields)
        if file is not None:
            self.contents[made["id"]] = file
            made |= {"filename": fields.get("filename", "x"), "bytes": len(file)}
        return status, made

    def answer(self, method: str, path: str, fields: dict[str, Any], file: bytes | None) -> tuple[int, Any]:
        """Status, and JSON or bytes."""
        self.calls.append((method, path))
        family, *rest = path.partition("?")[0].removeprefix("/v1/").split("/")
        if not rest:
            return self._answer_all(method, family, fields, file)
        found = self.objects.get(rest[0])
        if found is None:
            return 404, {"error": {"message": "No such object", "type": "invalid_request_error", "code": None}}
        if rest[1:] == ["content"]:
            return 200, self.contents[rest[0]]
        if rest[1:] == ["complete"]:
            return 200, {**found, "status": "completed", "file": self.make("files", {"filename": "whole"})}
        if rest[1:]:
            return 200, {"object": "below", "path": path, "fields": fields, **self.below}
        if method == "DELETE":
            del self.objects[rest[0]]
            return 200, {"id": rest[0], "object": family, "deleted": True}
        if family == "batches" and self.ending is not None:
            found |= self.ending
        found |= fields
        return 200, found


@contextmanager
def run_keeper() -> Iterator[Keeper]:
    """Listens as long as the block lasts."""
    keeper = Keeper()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            content_type = self.headers.get("content-type", "")
            fields: dict[str, Any] = {}
            file: bytes | None = None
            if content_type.startswith("multipart/"):
                head = f"content-type: {content_type}\r\n\r\n".encode()
                message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
                for part in message.iter_parts():
                    value = part.get_payload(decode=True)
                    assert isinstance(value, bytes)
                    if part.get_filename():
                        file, fields["filename"] = value, part.get_filename()
                    else:
                        fields[str(part.get_param("name", header="content-disposition"))] = value.decode()
            elif body:
                fields = json.loads(body)
            status, answer = keeper.answer(self.command, self.path, fields, file)
            if status == 0:
                self.close_connection = True
                return
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        keeper.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield keeper
        finally:
            server.shutdown()
            thread.join()
