"""Files with times far from now: listed, sent, archived, copied, counted; nothing overflows."""

import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from core.jobs import State
from core.jobs import requests as job_requests
from core.jobs.store import JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.support.doors import RunningDoor, running_door
from tests.support.valkey import Valkey
from workers.runner import Runner

pytestmark = pytest.mark.part("root")
#: Seconds of the epoch: the ends of 64 bits, of years in Python, of zip, tar and HTTP dates.
SECONDS = (
    -(2**63),
    -(10**15),
    -62_135_596_801,
    -62_135_596_800,
    -(2**31) - 1,
    -1,
    0,
    315_532_799,
    2**31,
    2**32,
    4_354_819_200,
    2**63 // 10**9 + 1,
    2**64 // 10**9 + 1,
    253_402_300_799,
    253_402_300_800,
    10**15,
    2**63 - 1,
)
CONTENT = b"content"


@dataclass
class Site:
    settings: Settings
    client: ClientDoor
    manager: RunningDoor
    folder: Folder

    def done(self, **body: Any) -> dict[str, Any]:
        """The result of a job that the test runs itself."""
        with connect(self.settings, Database.JOBS) as redis:
            store = JobStore(redis, lambda _: None)
            job = store.submit(Submission(job_requests.parse({"volume": "local", **body})))
            Runner(self.settings, store, lambda _: None)(job.id, lambda _: None)
            ended = store.get(job.id)
        assert ended.state is State.SUCCEEDED, ended.document()
        return ended.member("result") or {}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Site]:
    """Doors on a tmpfs, which keeps any time of 64 bits."""
    directory = tmp_path_factory.mktemp("far")
    (directory / "local").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory / "local"], check=True)
    client = make_door(directory, valkey)
    client.start()
    try:
        with running_door("manager", client.settings) as manager:
            folder = client.vfolder()
            for number, seconds in enumerate(SECONDS):
                made = folder.write(f"f{number}", CONTENT)
                touch(made, seconds)
                below = folder.path / f"d{number}"
                below.mkdir()
                (below / "link").symlink_to("x")
                touch(below / "link", seconds)
                touch(below, seconds)
            yield Site(client.settings, client, manager, folder)
    finally:
        client.stop()
        client.store._client.close()
        subprocess.run(["umount", "-l", directory / "local"], check=True)


def touch(path: Path, seconds: int) -> None:
    os.utime(path, ns=(seconds * 10**9, seconds * 10**9), follow_symlinks=False)


def test_a_listing(site: Site) -> None:
    body = {"volume": "local", "vfid": str(site.folder.id), "relpath": "."}
    answer = site.manager.call("POST", "/folder/file/list", body)
    items = {item["name"]: item for item in answer.json()["items"]}
    assert len(items) == 2 * len(SECONDS)
    assert items["f0"]["stat"]["modified"].startswith("0001-01-01")
    assert items[f"f{len(SECONDS) - 1}"]["stat"]["modified"].startswith("9999-12-31")


@pytest.mark.parametrize("number", range(len(SECONDS)))
def test_a_download(site: Site, number: int) -> None:
    url = site.folder.download(f"f{number}")
    whole = requests.get(url, timeout=60)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    again = requests.get(url, headers={"If-None-Match": whole.headers["ETag"]}, timeout=60)
    assert again.status_code == 304
    since = {"If-Modified-Since": whole.headers["Last-Modified"]}
    assert requests.get(url, headers=since, timeout=60).status_code == 304


@pytest.mark.parametrize("form", ["zip", "zip-deflate", "tar", "tar.gz"])
def test_an_archive(site: Site, form: str) -> None:
    answer = requests.get(site.folder.archive(["."]) + f"&format={form}", timeout=60)
    assert answer.status_code == 200, answer.text
    file = io.BytesIO(answer.content)
    if form.startswith("zip"):
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
    else:
        with tarfile.open(fileobj=file) as tar:
            names = tar.getnames()
    assert sum("f" in name.rpartition("/")[2] for name in names) == len(SECONDS)


#: Years 1677 to 2554: the times of plans; archives have the nearest one of others.
FIRST, LAST = -(2**63) // 10**9 + 1, 2**64 // 10**9


#: What unpacks an archive at a path into the directory where it runs.
TOOLS = {
    "tar": ["tar", "-xf"],
    "bsdtar": ["bsdtar", "-xf"],
    "7z": ["7z", "x", "-y", "-bd"],
}


@pytest.mark.parametrize("form", ["zip", "zip-deflate", "tar"])
@pytest.mark.parametrize(
    "tool",
    [
        "extract",
        "tar",
        *(pytest.param(one, marks=pytest.mark.part(one)) for one in ("bsdtar", "7z")),
    ],
)
def test_times_of_an_archive(site: Site, tool: str, form: str) -> None:
    """As real tools unpack them, and as the job `extract` does."""
    if tool != "extract" and (tool == "7z") == (form == "tar"):
        return  # GNU tar reads no zip, bsdtar no times of NTFS, and 7z no times of pax
    name = f"{tool}-{form}"
    home = site.client.vfolder()
    answer = requests.get(site.folder.archive(["."]) + f"&format={form}", timeout=60)
    path = home.write("archive", answer.content)
    if tool == "extract":
        request = {"source": "archive", "archive": form.partition("-")[0], "target": name}
        site.done(verb="extract", vfolder=str(home.id), **request)
    else:
        (home.path / name).mkdir()
        command = [*TOOLS[tool], path]
        subprocess.run(command, cwd=home.path / name, check=True, stdout=subprocess.DEVNULL)
    found = times(home.path / name)
    top = "" if "f0" in found else f"{site.folder.path.name}/"
    for number, seconds in enumerate(SECONDS):
        for kind in ("f{}", "d{}", "d{}/link"):
            entry = top + kind.format(number)
            expected = min(max(seconds, FIRST), LAST)
            if not (tool == "7z" and kind == "d{}/link"):  # it sets no times of links
                assert abs(found[entry] // 10**9 - expected) <= 1, entry


def times(path: Path) -> dict[str, int]:
    return {str(p.relative_to(path)): p.lstat().st_mtime_ns for p in path.rglob("*")}


def test_jobs(site: Site) -> None:
    source = str(site.folder.id)
    target = f"{source.partition('/')[0]}/{'7' * 32}"
    site.done(verb="clone", source=source, target=target, verify="checksum")
    path = site.client.backend.vfolder_path(VFolderId.parse(target))
    assert times(path) == times(site.folder.path)
    counted = site.done(verb="usage", vfolder=source)
    assert counted["files"] == len(SECONDS)
    over = {"source": source, "target": target, "verify": "size"}
    for rule in ("newer", "replace", "skip"):
        site.done(verb="transfer", on_conflict=rule, **over)
    new = {"source": source, "target": target, "target_path": "copy", "filters": ["- d0"]}
    site.done(verb="transfer", newer_than="1960-01-01T00:00:00Z", **new)
    site.done(verb="rescan")
    site.done(verb="delete", vfolder=target, keep_seconds=0)
