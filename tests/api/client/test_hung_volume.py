"""A volume that hangs: every request of the client door gets a problem within the deadline.

The same door serves another volume all the time, and its threads come back when the volume heals.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from backends.base import Mount
from backends.mounted import PosixBackend
from core.settings import load
from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.api.client.test_uploads import OCTETS, TUS, head, meta, patch, post
from tests.support.brittlefs import BrittleFS, Rule, mounted
from tests.support.doors import mark
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("fuse")

#: The deadline of the door under test, and what a loaded machine may add (seconds).
DEADLINE_SECONDS = 2
PATIENCE_SECONDS = 20
REQUESTS = 40
DATA = os.urandom(3 << 20)

MORE = f"""
[vfolder.doors]
backend-timeout = {DEADLINE_SECONDS}
processes = 1
"""


@pytest.fixture(scope="module")
def brittle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrittleFS]:
    with mounted(tmp_path_factory.mktemp("brittle")) as volume:
        yield volume


@pytest.fixture(scope="module")
def door(
    brittle: BrittleFS, tmp_path_factory: pytest.TempPathFactory, valkey: Valkey
) -> Iterator[ClientDoor]:
    made = make_door(tmp_path_factory.mktemp("door"), valkey, MORE)
    made.backend = PosixBackend(Mount("local", brittle.path))
    config = made.directory / "storage-proxy.toml"
    config.write_text(config.read_text().replace('path = "local"', f'path = "{brittle.path}"'))
    settings = load(config, environ={})
    mark(settings, {"local": brittle.path})
    made.start()
    yield made
    made.stop()
    made.store.client.close()


@pytest.fixture
def volume(brittle: BrittleFS) -> Iterator[BrittleFS]:
    yield brittle
    brittle.heal()


def get(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=60, **options)


class Requests:
    """Requests of every kind, ready to be sent to one vfolder."""

    def __init__(self, folder: Folder) -> None:
        folder.write("d/f", DATA)
        self.folder = folder
        self._tree = folder.upload("up", len(DATA), tree=True)
        url = self._created()
        part = self._created(Upload_Concat="partial")
        assert patch(part, 0, DATA).status_code == 204
        begun = folder.upload("begun", len(DATA))
        assert patch(begun, 0, DATA[:1000]).status_code == 204
        ended = self._created()
        self.of: dict[str, Callable[[], requests.Response]] = {
            "download": lambda: get(folder.download("d/f")),
            "range": lambda: get(folder.download("d/f"), headers={"Range": "bytes=9-99"}),
            "look at a download": lambda: requests.head(folder.download("d/f"), timeout=60),
            "directory": lambda: get(folder.download("d", archive=True)),
            "archive": lambda: get(folder.archive(["d"])),
            "tar.gz": lambda: get(folder.archive(["d"]) + "&format=tar.gz"),
            "create": lambda: post(
                self._tree, Upload_Length="4", Upload_Metadata=meta(filename="new")
            ),
            "create with bytes": lambda: post(
                self._tree,
                DATA,
                Upload_Length=str(len(DATA)),
                Upload_Metadata=meta(filename="new"),
                Content_Type=OCTETS["Content-Type"],
            ),
            "append": lambda: patch(url, 0, DATA),
            "append to a ticket's upload": lambda: patch(begun, 1000, DATA[1000:]),
            "look": lambda: head(url),
            "join": lambda: post(
                self._tree, Upload_Concat=f"final;{part}", Upload_Metadata=meta(filename="joined")
            ),
            "end": lambda: requests.delete(ended, headers=TUS, timeout=60),
        }

    def _created(self, **more: str) -> str:
        words = {"Upload_Length": str(len(DATA)), "Upload_Metadata": meta(filename="f"), **more}
        return urljoin(self._tree, post(self._tree, **words).headers["Location"])


def is_refused(answer: requests.Response) -> bool:
    """A problem document that says that the volume does not answer; a HEAD has the status only."""
    assert answer.status_code in (503, 504), (answer.status_code, answer.text)
    if answer.request.method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["retriable"]
        assert problem["status"] == answer.status_code
        assert "local" in problem["detail"]
        assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert int(answer.headers["Retry-After"]) > 0
    return True


def _works(send: Callable[[], requests.Response]) -> bool:
    return send().status_code < 500


def test_every_request_is_answered_within_the_deadline_and_works_again(
    door: ClientDoor, volume: BrittleFS
) -> None:
    ready = Requests(door.vfolder())
    volume.rules(Rule(hang=True))
    began = time.monotonic()
    with ThreadPoolExecutor(len(ready.of)) as pool:
        answers = list(pool.map(lambda send: send(), ready.of.values()))
    took = time.monotonic() - began
    assert all(map(is_refused, answers))
    uploads = [a for name, a in zip(ready.of, answers, strict=True) if "upload" in a.request.url]
    assert all(a.headers["Access-Control-Allow-Origin"] == "*" for a in uploads)
    assert took < DEADLINE_SECONDS + PATIENCE_SECONDS
    volume.heal()
    for name, send in ready.of.items():
        wait_for(partial(_works, send), failure=name)
    assert (ready.folder.path / "up/f").read_bytes() == DATA
    assert (ready.folder.path / "begun").read_bytes() == DATA


@pytest.mark.parametrize("operation", ["write", "read", "fsync", "open", "rename", "readdir"])
def test_a_hang_of_one_operation(door: ClientDoor, volume: BrittleFS, operation: str) -> None:
    ready = Requests(door.vfolder())
    name = {"read": "download", "readdir": "archive"}.get(operation, "append")
    volume.rules(Rule(operation, hang=True))
    assert is_refused(ready.of[name]())
    volume.heal()
    wait_for(lambda: ready.of[name]().status_code < 500)


def test_threads_come_back_from_a_hung_volume(door: ClientDoor, volume: BrittleFS) -> None:
    """The threads come back: afterwards as many requests as before are served at once."""
    ready = Requests(door.vfolder())
    url = ready.folder.download("d/f")
    volume.rules(Rule(hang=True))
    with ThreadPoolExecutor(REQUESTS) as pool:
        hung = [pool.submit(requests.get, url, timeout=60) for _ in range(REQUESTS)]
        assert all(is_refused(one.result()) for one in hung)
    volume.heal()
    wait_for(lambda: requests.get(url, timeout=60).status_code == 200)
    gate = threading.Barrier(REQUESTS)

    def fetch(_: int) -> bytes:
        gate.wait()
        return requests.get(url, timeout=60).content

    with ThreadPoolExecutor(REQUESTS) as pool:
        assert all(content == DATA for content in pool.map(fetch, range(REQUESTS)))


def _held_below(door: ClientDoor, volume: BrittleFS) -> list[str]:
    """What the processes of a door have open on a volume."""
    assert door.process is not None
    pid = door.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    held = []
    for worker in workers:
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed since
                held.append(os.readlink(link))
    return [path for path in held if path.startswith(f"{volume.path}/")]


def test_an_archive_that_was_given_up_is_closed(door: ClientDoor, volume: BrittleFS) -> None:
    """Small files are read before the head of the answer is sent."""
    folder = door.vfolder()
    folder.write("d/f", b"small")
    volume.rules(Rule("read", "*/f", hang=True))
    assert is_refused(get(folder.archive(["d"])))
    assert _held_below(door, volume)
    volume.heal()
    wait_for(lambda: not _held_below(door, volume), failure="it is open")


def test_what_was_given_up_is_not_published_later(door: ClientDoor, volume: BrittleFS) -> None:
    folder = door.vfolder()
    url = folder.upload("f", len(DATA))
    volume.rules(Rule("fsync", hang=True))
    assert is_refused(patch(url, 0, DATA))
    assert not (folder.path / "f").exists()
    volume.heal()
    assert int(head(url).headers["Upload-Offset"]) == len(DATA)  # it is published by asking
    assert (folder.path / "f").read_bytes() == DATA


def test_a_slow_volume_is_not_taken_for_a_hung_one(door: ClientDoor, volume: BrittleFS) -> None:
    """Each call is slower than the threshold of suspicion, and all together than the deadline."""
    folder = door.vfolder()
    url = folder.upload("f", len(DATA))
    volume.rules(Rule("write", delay_seconds=0.2))
    assert patch(url, 0, DATA).status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_streams_that_hang_delay_no_other_stream(door: ClientDoor, volume: BrittleFS) -> None:
    """More of them than the door has senders; those come back."""
    folder = door.vfolder()
    large = os.urandom(16 << 20)
    folder.write("hung", large)
    folder.write("other", large)
    with ExitStack() as stack:
        volume.rules(Rule("read", "*/hung", hang=True, after=120))
        hung = [
            stack.enter_context(requests.get(folder.download("hung"), timeout=120, stream=True))
            for _ in range(8)
        ]
        with ThreadPoolExecutor(8) as pool:
            rests = [pool.submit(lambda answer=answer: answer.content) for answer in hung]
            volume.wait_for_hit()
            for _ in range(3):
                assert requests.get(folder.download("other"), timeout=60).content == large
            assert not all(one.done() for one in rests)
            volume.heal()
            assert all(one.result() == large for one in rests)
    assert requests.get(folder.download("hung"), timeout=60).content == large
