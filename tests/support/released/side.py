"""The released manager's client: how it sends a call, and how strictly it reads the answer.

Written from the published behaviour of the releases 26.4 and later: what the client sends, which
fields it takes, with which type, and which calls end by an event instead of the answer. A number as
text, a null in place of a number, an id that is no UUID or a 200 without a body fails here as it
fails there. Unknown fields are ignored, as there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec
import requests

from backends.systems.s3 import Bucket
from core.names import VFolderId
from tests.core.events.reader import Heard, Reader
from tests.support.hub import StandInHub
from tests.support.manager_client import Refused, understand
from tests.support.node import wait_for
from tests.support.remote_manager import StandInManager

#: The client gives up on any call after this time, and on a connection after the other (seconds).
PATIENCE_SECONDS = 300
CONNECT_SECONDS = 30
AUTH_HEADER = "X-BackendAI-Storage-Auth-Token"
T = TypeVar("T")


class Unexpected(Exception):
    """An answer that the client cannot use: its user gets a 500."""


@dataclass
class ReleasedManager:
    """The manager's side of one node: where its door is, and what the bus has said."""

    url: str
    secret: str
    heard: Reader
    #: Where the volume is mounted, here and on the agents.
    mount: Path
    #: Where models come from: a hub, and the manager of another site.
    hub: StandInHub
    remote: StandInManager
    #: The bucket of the object storage, where there is a server.
    bucket: Bucket | None
    volume: str = "local"
    vfid: str = field(default_factory=lambda: f"user:{uuid4()}/{uuid4().hex}")
    #: What was asked: method, path, status of the answer.
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def place(self) -> dict[str, Any]:
        """The vfolder, as most calls name it."""
        return {"volume": self.volume, "vfid": self.vfid}

    @property
    def scope(self) -> dict[str, Any]:
        """The quota scope of the vfolder, as the calls of quota name it."""
        return {"volume": self.volume, "qsid": self.vfid.partition("/")[0]}

    @property
    def path(self) -> Path:
        """The vfolder as an agent sees it."""
        return self.mount / VFolderId.parse(self.vfid).directory

    def write(self, name: str, content: str) -> None:
        """Put a file into the vfolder, as a container does; the vfolder is made where it is not."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(content)

    def send(self, method: str, path: str, body: dict[str, Any] | None) -> requests.Response:
        """Send one call: parameters are JSON in the body, whatever the method."""
        answer = requests.request(
            method,
            self.url + path,
            json=body,
            headers={AUTH_HEADER: self.secret},
            timeout=(CONNECT_SECONDS, PATIENCE_SECONDS),
        )
        self.asked.append((method, path, answer.status_code))
        return answer

    def ask(self, method: str, path: str, shape: type[T], **body: Any) -> T:
        """Return what an answer says.

        Raises:
            Refused: the manager's error for this answer.
            Unexpected: the answer is empty, or is not JSON.
            msgspec.ValidationError: a field is missing, or has another type.
        """
        answer = self.send(method, path, body or None)
        if understand(answer) is None:
            raise Unexpected(f"{method} {path}: {answer.status_code} without a body")
        if answer.headers["Content-Type"].partition(";")[0] != "application/json":
            raise Unexpected(answer.headers["Content-Type"])
        return msgspec.json.decode(answer.content, type=shape)

    def ask_unless(
        self, refusal: str, method: str, path: str, shape: type[T], **body: Any
    ) -> T | None:
        """Return what an answer says; None for the one error that is an answer, too."""
        try:
            return self.ask(method, path, shape, **body)
        except Refused as error:
            if error.kind != refusal:
                raise
            return None

    def order(self, method: str, path: str, **body: Any) -> None:
        """Send a call whose answer says nothing: only its status is read."""
        understand(self.send(method, path, body))

    def event(self, *names: str, vfid: str) -> Heard:
        """Wait for the event that ends a long operation; the answer did not say how it ended."""

        def ended() -> list[Heard]:
            return [one for one in self.heard.stream if one.fields.get("vfid") == vfid]

        (found,) = wait_for(ended, failure=f"none of {names} for {vfid}: {self.heard.errors}")
        assert found.name in names, found
        assert str(VFolderId.parse(found.fields["vfid"])) == vfid
        return found


class ReleasedCall(NamedTuple):
    """A call: which released clients send it, and the function that does."""

    readers: frozenset[str]
    drive: Callable[[Any], object]


def keep_in(
    calls: dict[tuple[str, str], ReleasedCall],
) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Return a decorator that keeps functions as the calls of routes, with who sends them."""

    def call(
        method: str, path: str, *readers: str
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(drive: Callable[..., Any]) -> Callable[..., Any]:
            calls[method, path] = ReleasedCall(frozenset(readers), drive)
            return drive

        return keep

    return call


#: Every call of the manager door by method and path.
CALLS: dict[tuple[str, str], ReleasedCall] = {}
call = keep_in(CALLS)
