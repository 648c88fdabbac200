"""A stand-in of another site's manager: files of a VFS storage, by signed requests.

It checks every signature as the published API says, and refuses a request that has none.
"""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCESS_KEY, SECRET_KEY = "REMOTE-ACCESS", "remote-secret-of-the-tests"
VERSION = "v9.20250722"
STORAGE = "upstream"


class StandInManager:
    """The manager, and the files of its storage."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.verifications: dict[str, Any] = {}
        self.refused: list[str] = []
        #: The next so many downloads end in the middle.
        self.breaks = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.manager = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def listing(self, directory: str) -> list[dict[str, Any]]:
        """Files and directories below a directory, as a manager passes them on."""
        names = [name for name in self.files if name.startswith(f"{directory}/")]
        folders = {name.rpartition("/")[0] for name in names} - {directory}
        times = {"modified": 1.0, "created": 1.0}
        found = [
            {
                "name": one.rpartition("/")[2],
                "type": "directory",
                "size": None,
                "path": one,
                **times,
            }
            for one in sorted(folders)
        ]
        for name in names:
            size = len(self.files[name])
            facts = {"name": name.rpartition("/")[2], "type": "file", "size": size, "path": name}
            found.append(facts | times)
        return found

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    manager: StandInManager


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        body = self._body()
        if body is None:
            return
        top, _, rest = self.path[1:].partition("/")
        if self.path == f"/vfs-storages/{STORAGE}/files":
            self._json({"files": self.server.manager.listing(body["directory"])})
        elif top == "artifacts" and rest.endswith("/verification-result"):
            revision = rest.split("/")[1]
            found = self.server.manager.verifications.get(revision)
            self._json({"verification_result": found})
        else:
            self._answer(404)

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        data = self.server.manager.files.get(body.get("filepath", ""))
        if self.path != f"/vfs-storages/{STORAGE}/download" or data is None:
            self._answer(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-tar")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.manager.breaks > 0:
            self.server.manager.breaks -= 1
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return
        self.wfile.write(data)

    def _body(self) -> dict[str, Any] | None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_signed():
            self.server.manager.refused.append(self.path)
            self._answer(401)
            return None
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def _is_signed(self) -> bool:
        date = self.headers["Date"]
        day = datetime.fromisoformat(date).strftime("%Y%m%d")
        text = "\n".join(
            (
                *(self.command, self.path, date, f"host:{self.headers['Host']}"),
                f"content-type:{self.headers['Content-Type']}",
                f"x-backendai-version:{self.headers['X-BackendAI-Version']}",
                hashlib.sha256(b"").hexdigest(),
            )
        )
        key = SECRET_KEY.encode()
        for part in (day, self.headers["Host"]):
            key = hmac.digest(key, part.encode(), "sha256")
        expected = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"credential={ACCESS_KEY}:{expected}"
        return self.headers["Authorization"] == f"BackendAI signMethod=HMAC-SHA256, {credential}"

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_manager() -> Iterator[StandInManager]:
    """A manager of another site until the end of the block."""
    manager = StandInManager()
    try:
        yield manager
    finally:
        manager.close()
