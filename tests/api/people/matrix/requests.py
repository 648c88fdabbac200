"""Requests of the matrix: many on one connection, and what must not change by a refused one."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.api.people.conftest import tree_of

#: Longest time of an answer; a hang is a failure.
ANSWER_SECONDS = 60.0
STREAM = "text/event-stream"


@dataclass(frozen=True)
class Answer:
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Line:
    """One connection to a door, which stays open; another one after a stream."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        self.count = 0

    def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Answer:
        """One request, with a JSON body, or bytes as they are."""
        self.count += 1
        if body is not None and not isinstance(body, bytes):
            body, headers = (
                json.dumps(body).encode(),
                {"Content-Type": "application/json", **headers},
            )
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        found = {name.lower(): text for name, text in response.getheaders()}
        if found.get("content-type", "").startswith(STREAM):
            self.close()
            return Answer(response.status, found, b"")
        return Answer(response.status, found, response.read())

    def close(self) -> None:
        self._connection.close()


def seen(tree: Path, record: Path) -> tuple[dict[str, int], bytes]:
    """What a refused request must not change: the files of a vfolder, and its record."""
    return tree_of(tree), record.read_bytes() if record.exists() else b""
