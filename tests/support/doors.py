"""Settings and running doors for tests: real gunicorn processes, real HTTP."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
import requests
from flask import Flask

from backends.fs import marker
from core.cluster import VolumeIdStore
from core.redis import Database, connect
from core.settings import CONFIG_VARIABLE, Settings, load
from tests.support import preloaded
from tests.support.node import wait_for
from tests.support.openapi import Document
from tests.support.ports import free_port

SECRET = "manager-secret-of-the-tests"
TICKET_SECRET = "ticket-secret-of-the-tests-0123456789"
AUTH = {"X-BackendAI-Storage-Auth-Token": SECRET}
#: Longest time of an answer in a test; a hang is a failure.
ANSWER_SECONDS = 60.0
#: No store listens there.
_NO_STORE = "redis://127.0.0.1:1"


def settings_in(
    directory: Path,
    redis_url: str = _NO_STORE,
    more: str = "",
    *,
    marked: bool = True,
) -> Settings:
    """Settings with one `vfs` volume `local` below a directory; `more` is further TOML.

    The volume is `marked` as one that was proved before.
    """
    (directory / "local").mkdir(exist_ok=True)
    path = directory / "storage-proxy.toml"
    path.write_text(
        f"""
[storage-proxy]
node-id = "node1"
secret = "{TICKET_SECRET}"
session-expire = "1d"
[api.client]
service-addr = "127.0.0.1:{free_port()}"
[api.manager]
service-addr = "127.0.0.1:{free_port()}"
internal-addr = "127.0.0.1:{free_port()}"
secret = "{SECRET}"
[volume.local]
backend = "vfs"
path = "local"
[vfolder.redis]
url = "{redis_url}"
{more}
""",
    )
    settings = load(path, environ={})
    if marked:
        alone = redis_url == _NO_STORE
        names = settings.volume if alone else ("local",)
        mark(settings, {name: settings.volume_path(settings.volume[name]) for name in names})
    return settings


def mark(settings: Settings, volumes: Mapping[str, Path]) -> None:
    """Let directories be the volumes that the store knows: sites of one store have one of each.

    Without a store no process could make the first marker. Then it is made here.
    """
    known = {name: str(uuid4()) for name in volumes}
    with suppress(redis.RedisError), connect(settings, Database.JOBS) as client:
        known = {name: VolumeIdStore(client).remember(name, new) for name, new in known.items()}
    for name, path in volumes.items():
        if path.is_dir() and not (path / marker.NAME).exists():
            (path / marker.NAME).write_text(f"{known[name]}\n")


class RunningDoor:
    """A door that listens: every answer to `call` is checked against its OpenAPI document."""

    def __init__(self, url: str, headers: Mapping[str, str], process: preloaded.Running) -> None:
        self.url = url
        self.process = process
        self._headers = dict(headers)
        self.session = requests.Session()
        self.session.trust_env = False
        self._document: Document | None = None

    @property
    def document(self) -> Document:
        """The OpenAPI document of the door, read once."""
        if self._document is None:
            self._document = Document(self.send("GET", "/openapi.json").json())
        return self._document

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request with the door's secret; other options are those of `requests`."""
        headers = {**self._headers, **options.pop("headers", {})}
        options.setdefault("timeout", ANSWER_SECONDS)
        return self.session.request(method, self.url + path, headers=headers, **options)

    def call(
        self, method: str, path: str, body: Any = None, *, on_fault: bool = False, **options: Any
    ) -> requests.Response:
        """One request with a JSON body, its answer checked against the document.

        A 5xx is a failure of the test unless it is made `on_fault`.
        """
        if body is not None:
            options["json"] = body
        response = self.send(method, path, **options)
        self.document.check(method, path, response)
        assert on_fault or response.status_code < 500, response.text
        return response

    def taken(self, method: str, path: str, body: Any = None) -> requests.Response:
        """As `call`, repeated while the answer is 503: the door is busy or a node is away.

        The door answers 503 before it does anything.
        """

        def answered() -> list[requests.Response]:
            answer = self.call(method, path, body, on_fault=True)
            if answer.status_code == 503:
                return []
            assert answer.status_code < 500, answer.text
            return [answer]

        return wait_for(answered, failure=f"{method} {path} is not taken")[0]


@contextmanager
def closing(app: Flask) -> Iterator[Flask]:
    """A door within the process of the tests; its threads end with the block."""
    try:
        yield app
    finally:
        app.extensions["vfolder.door"].close()


@contextmanager
def running_door(
    door: str, settings: Settings, before: Sequence[str] = ()
) -> Iterator[RunningDoor]:
    """One door under its real server, until the end of the block; started through `before`."""
    address = {
        "manager": settings.api.manager.address,
        "client": settings.api.client.address,
        "internal": settings.api.manager.internal_address,
    }[door]
    log_path = settings.directory / f"{door}.log"
    with log_path.open("wb") as log:
        process = preloaded.start(
            "door",
            ["api.serve", door],
            output=log,
            environment=os.environ | {CONFIG_VARIABLE: settings.origin},
            before=before,
        )
    table = settings.api.client if door == "client" else settings.api.manager
    tls = table.ssl_enabled and door != "internal"
    url = f"{'https' if tls else 'http'}://{address}"
    running = RunningDoor(url, AUTH if door == "manager" else {}, process)
    running.session.verify = str(settings.directory / table.ssl_cert) if table.ssl_cert else True
    try:
        wait_for(lambda: _answers(running, process, log_path), 120, f"see {log_path}")
        yield running
    finally:
        running.session.close()
        process.send_signal(signal.SIGINT)  # end at once, without grace
        process.wait(timeout=120)


def _answers(door: RunningDoor, process: preloaded.Running, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        door.send("GET", "/health")
    except requests.ConnectionError:
        return False
    return True
