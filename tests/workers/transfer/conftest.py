"""A door and a worker on two volumes, shared by the tests of a file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.names import VFolderId
from core.settings import Settings
from tests.backends.transfer.xcp.conftest import StandIn
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey
from tests.support.worker import running_worker

#: `nas1` and `nas2` are for XCP, for which the fixture has a stand-in. The first lines belong to
#: the store, which on a busy machine may answer later than a door waits.
MORE = """
answer-timeout = 20
connect-timeout = 20
[volume.nas1]
backend = "vfs"
path = "xcp/source"
[volume.nas1.options]
netapp_xcp_cmd = ["{command}"]
netapp_nfs_host = "nas"
netapp_volume_name = "source"
[volume.nas2]
backend = "vfs"
path = "xcp/target"
[volume.nas2.options]
netapp_xcp_cmd = ["{command}"]
netapp_nfs_host = "nas"
netapp_volume_name = "target"
xcp_catalog = "nas:/catalog"
[volume.other]
backend = "vfs"
path = "other"
[vfolder.doors]
processes = 1
[vfolder.jobs]
lease-seconds = 10.0
"""


@dataclass
class Pair:
    """The door, and two volumes seen from below."""

    settings: Settings
    door: RunningDoor
    standin: StandIn

    def folder(self, volume: str = "local") -> tuple[str, Path]:
        """A new, empty vfolder in a new scope, and its directory."""
        vfid = absent()
        path = self.path(vfid, volume)
        path.mkdir(parents=True)
        return vfid, path

    def path(self, vfid: str, volume: str = "other") -> Path:
        return self._top(volume) / VFolderId.parse(vfid).directory

    def _top(self, volume: str) -> Path:
        top: Path = self.settings.volume_path(self.settings.volume[volume])
        return top

    def submit(self, **body: Any) -> Any:
        """The response to the submission of a transfer from `local` to `other`."""
        job = {"verb": "transfer", "volume": "local", "target_volume": "other", **body}
        return self.door.call("POST", "/v1/jobs", job)

    def get(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.door.call("GET", f"/v1/jobs/{job}").json()
        return found

    def begun(self, **body: Any) -> str:
        response = self.submit(**body)
        assert response.status_code == 202, response.text
        found: str = response.json()["id"]
        return found

    def ended(self, job: str) -> dict[str, Any]:
        return wait_for(lambda: found if (found := self.get(job))["done"] else {}, 120)

    def done(self, state: str = "succeeded", **body: Any) -> dict[str, Any]:
        """The document of a transfer that ended as expected."""
        found = self.ended(self.begun(**body))
        assert found["state"] == state, found
        return found

    def report(self, job: str) -> list[dict[str, Any]]:
        text = self.door.call("GET", f"/v1/jobs/{job}/report").text
        return [json.loads(line) for line in text.splitlines()][:-1]

    def hidden(self, vfid: str, area: str, volume: str = "other") -> list[Path]:
        """Return what a hidden directory of a vfolder's scope holds."""
        scope = VFolderId.parse(vfid).scope
        assert scope is not None
        path = self._top(volume) / scope.directory / ".vfolder" / area
        return sorted(path.iterdir()) if path.exists() else []

    def emptied(self, vfid: str, area: str, volume: str = "other") -> None:
        """Wait until nothing is left there: a job's own files go when its end is published."""
        wait_for(
            lambda: self.hidden(vfid, area, volume) == [],
            failure=lambda: f"left in {area}: {self.hidden(vfid, area, volume)}",
        )


def absent() -> str:
    """The id of a vfolder that does not exist."""
    return f"user:{uuid4()}/{uuid4().hex}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    for name in ("other", "xcp"):
        (directory / name).mkdir()
    standin = StandIn(directory / "xcp")
    more = MORE.format(command=standin.command[0])
    with running_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        settings = settings_in(directory, valkey.url, more)
        with running_door("manager", settings) as door, running_worker(settings, "other"):
            yield Pair(settings, door, standin)


@pytest.fixture
def valkey_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A store for one site."""
    with running_valkey(tmp_path_factory.mktemp("valkey-alone")) as server:
        yield server
