"""The mount of a volume goes away under running doors: every route says so, and does nothing."""

import os
from collections.abc import Callable, Iterator

import pytest
import requests

from backends.fs import marker
from core.names import VFolderId
from tests.api.wire.test_storage_errors import CHANGES, JOBS, MAKES, READS, TUS, Site, prepare
from tests.support.doors import mark, running_door, settings_in
from tests.support.mounts import Disk, disk, tmpfs
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("root")

UNAVAILABLE = "storage_access_unavailable"
#: `local` is on a mount of its own.
PROVING = "[vfolder.worker]\nprove-seconds = 0.5\n[vfolder.doors]\nprocesses = 1\n"
HALF = 1 << 20


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[tuple[Site, Disk]]:
    directory = tmp_path_factory.mktemp("lost")
    settings = settings_in(directory, valkey.url, PROVING, marked=False)
    with disk(directory / "local", directory) as mount:
        mark(settings, {"local": mount.path})
        with (
            running_door("manager", settings) as manager,
            running_door("client", settings) as client,
        ):
            yield Site(manager, client, directory), mount


def away(mount: Disk) -> None:
    mount.umount_idle()


def covered(mount: Disk) -> None:
    mount.cover()


def replaced(mount: Disk) -> None:
    mount.umount_idle()
    tmpfs(mount.path)


def refused(response: requests.Response, site: Site, name: str) -> None:
    assert response.status_code == 503, (name, response.text)
    problem = response.json()
    assert (problem["error_code"], problem["retriable"]) == (UNAVAILABLE, True), (name, problem)
    assert "Retry-After" in response.headers
    assert str(site.directory) not in response.text


def healthy(site: Site) -> bool:
    return site.manager.send("GET", "/health").json()["status"] == "ok"


@pytest.mark.parametrize("go", [away, covered, replaced], ids=lambda way: way.__name__)
def test_every_route_answers_that_the_volume_is_not_available(
    lost: tuple[Site, Disk], go: Callable[[Disk], None]
) -> None:
    site, mount = lost
    prepare(site, "local", mount.path)
    before = sorted(mount.top.rglob("*"))
    go(mount)
    for name, send in {**READS, **CHANGES, **MAKES}.items():
        if name != "metadata":  # the cache may have it
            refused(send(site, "local"), site, name)
    vfid = site.vfids["local"]
    body = {"volume": "local", "vfid": vfid, "relpath": ["x", "y"]}
    assert site.call("POST", "/folder/file/mkdir", body).status_code in (422, 503)
    for verb in JOBS.values():
        request = {"volume": "local", **verb, "vfolder": vfid, "source": vfid}
        keys = {"verb", "volume", *verb} - {"target"} | ({"target"} & verb.keys())
        request["target"] = f"{vfid.partition('/')[0]}/{'0' * 31}1"
        answer = site.call("POST", "/v1/jobs", {key: request[key] for key in keys})
        assert answer.status_code in (202, 503), answer.text
    wait_for(lambda: not healthy(site))
    health = site.manager.send("GET", "/health").text
    assert "is not available" in health
    assert str(site.directory) not in health
    assert os.listdir(mount.path) == mount.bare() == []
    assert sorted(mount.top.rglob("*")) == before
    mount.mount()
    for name, send in READS.items():
        assert send(site, "local").status_code == 200, name
    wait_for(lambda: healthy(site))


def sent(site: Site, mount: Disk, lose: Callable[[], None]) -> requests.Response:
    """Send an upload whose volume is lost when half of its bytes are on the disk."""
    vfid = site.vfids["local"]
    order = {"volume": "local", "vfid": vfid, "relpath": "whole", "size": 2 * HALF}
    token = site.call("POST", "/folder/file/upload", order).json()["token"]
    site.uploads["local"] = f"/upload?token={token}"
    vfolder = VFolderId.parse(vfid)
    assert vfolder.scope is not None
    uploads = mount.top / vfolder.scope.directory / ".vfolder" / "uploads"

    def body() -> Iterator[bytes]:
        yield b"a" * HALF
        wait_for(lambda: any(file.stat().st_size == HALF for file in uploads.iterdir()))
        lose()
        yield b"b" * HALF

    headers = {**TUS, "Upload-Offset": "0"}
    return site.client.send("PATCH", site.uploads["local"], data=body(), headers=headers)


@pytest.mark.parametrize("over", [True, False], ids=["covered", "bare"])
def test_an_upload_ends_later_when_its_mount_goes_amid_it(
    lost: tuple[Site, Disk], *, over: bool
) -> None:
    """No byte is lost and none lands elsewhere: the file appears once the volume is back."""
    site, mount = lost
    prepare(site, "local", mount.path)

    def lose() -> None:
        mount.umount("-l")
        if over:
            mount.cover()

    refused(sent(site, mount, lose), site, "PATCH")
    refused_head = site.client.send("HEAD", site.uploads["local"], headers=TUS)
    assert refused_head.status_code == 503
    assert mount.bare() == []
    mount.mount()
    path = mount.path / VFolderId.parse(site.vfids["local"]).directory / "whole"
    assert not path.exists()
    site.client.send("HEAD", site.uploads["local"], headers=TUS)
    assert path.read_bytes() == b"a" * HALF + b"b" * HALF


def test_an_upload_ends_when_its_volume_is_mounted_again_amid_it(lost: tuple[Site, Disk]) -> None:
    """The file is open on the former mount of the same file system; no error is a client's."""
    site, mount = lost
    prepare(site, "local", mount.path)

    def remount() -> None:
        mount.umount("-l")
        mount.mount()

    answer = sent(site, mount, remount)
    assert answer.status_code in (204, 503), answer.text
    site.client.send("HEAD", site.uploads["local"], headers=TUS)
    path = mount.path / VFolderId.parse(site.vfids["local"]).directory / "whole"
    assert path.read_bytes() == b"a" * HALF + b"b" * HALF


def test_a_download_ends_on_the_mount_that_it_began_on(lost: tuple[Site, Disk]) -> None:
    site, mount = lost
    prepare(site, "local", mount.path)
    path = mount.path / VFolderId.parse(site.vfids["local"]).directory / "a.txt"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    mount.umount_idle()
    refused(site.download("local"), site, "download")
    refused(site.archive("local"), site, "archive")
    mount.mount()
    assert len(site.download("local").content) == 64 << 20
    assert (mount.path / marker.NAME).exists()
