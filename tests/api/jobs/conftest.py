"""A manager door and a worker as they run, on one volume, shared by the tests of a file."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.ends import checked_end
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey
from tests.support.worker import running_worker

#: Event streams a process of the door takes; few, so that a test can take them all.
STREAMS = 24
#: Callers that it lets wait for an end, for the same reason.
WAITS = 8
MORE = f"""
[vfolder.doors]
processes = 1
streams = {STREAMS}
waits = {WAITS}
"""


@dataclass
class Site:
    """The door, the volume seen from below, and the store."""

    settings: Settings
    door: RunningDoor
    redis: Redis

    def folder(self, **files: str) -> str:
        """The id of a new vfolder in a new scope, with these files."""
        vfid = f"user:{uuid4()}/{uuid4().hex}"
        path = self.path(vfid)
        path.mkdir(parents=True)
        for name, text in files.items():
            (path / name).write_text(text)
        return vfid

    def path(self, vfid: str) -> Path:
        return self.settings.directory / "local" / VFolderId.parse(vfid).directory

    def submit(self, verb: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
        """The response to a job's submission."""
        body = {"verb": verb, "volume": "local", **body}
        return self.door.call("POST", "/v1/jobs", body, headers=headers or {})

    def begun(self, verb: str, **body: Any) -> str:
        """The id of a new job."""
        response = self.submit(verb, **body)
        assert response.status_code == 202, response.text
        found: str = response.json()["id"]
        return found

    def get(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.door.call("GET", f"/v1/jobs/{job}").json()
        return found

    def ended(self, job: str) -> dict[str, Any]:
        """The document of a job once it has ended."""

        def look() -> dict[str, Any]:
            found = self.get(job)
            return found if found["done"] else {}

        return checked_end(wait_for(look, 60))

    def quiet(self) -> None:
        """Wait until nothing runs that tests before have begun."""

        def look() -> bool:
            found = self.door.call("GET", "/v1/jobs?state=running").json()["jobs"]
            return (
                not found and not self.door.call("GET", "/v1/jobs?state=cancelling").json()["jobs"]
            )

        wait_for(look, failure="jobs of other tests run on and on")

    def wait(self, job: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.get(job)
            return found if what(found) else {}

        return wait_for(look, 60)


@pytest.fixture(scope="module")
def api_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A store of its own: other tests empty theirs."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, api_valkey: Valkey) -> Iterator[Site]:
    settings = settings_in(tmp_path_factory.mktemp("site"), api_valkey.url, MORE)
    with (
        running_door("manager", settings) as door,
        running_worker(settings),
        connect(settings, Database.JOBS) as client,
    ):
        yield Site(settings, door, client)


@pytest.fixture
def at_rest(site: Site) -> Iterator[Site]:
    """The site with its volume at rest: what is submitted stays queued."""
    assert site.door.call("POST", "/v1/volumes/local/pause").status_code == 204
    yield site
    assert site.door.call("POST", "/v1/volumes/local/resume").status_code == 204


def names_of(path: Path) -> set[bytes]:
    return set(os.listdir(os.fsencode(path)))
