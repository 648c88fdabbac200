"""A deleted vfolder takes its uploads and the use of its tickets with it, at once."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import jwt
import pytest
import requests

from backends.fs import layout
from backends.quota import soft
from backends.volumes import Volumes
from core.errors import QuotaExceeded
from core.jobs import Job, State
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings, load
from tests.api.client.conftest import ClientDoor, Folder
from tests.api.client.test_uploads import head, meta, patch, post, problem, staged
from workers.runner import Runner

DATA = os.urandom(2 << 20)


class Jobs:
    """Runs jobs on the door's volume, as a worker's process does."""

    def __init__(self, settings: Settings) -> None:
        self._client = connect(settings, Database.JOBS)
        self.store = JobStore(self._client, lambda _: None)
        self.store.set_slots("local", 100, 100)
        self.runner = Runner(settings, self.store, lambda _: None)

    def submit(self, verb: str, **more: Any) -> Job:
        return self.store.submit(Submission(parse({"verb": verb, "volume": "local", **more})))

    def run(self, verb: str, folder: Folder, **more: Any) -> str:
        job = self.submit(verb, vfolder=str(folder.id), **more)
        self.runner(job.id, lambda _: None)
        return self.store.get(job.id).state.value


@pytest.fixture
def jobs(door: ClientDoor) -> Jobs:
    return Jobs(load(door.directory / "storage-proxy.toml", {}))


def refused_before_its_body(url: str, offset: int) -> bytes:
    """Announce a body, send none of it, and return the first bytes of the answer."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=60) as client:
        client.sendall(
            f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
        )
        return client.recv(12)


@pytest.mark.parametrize("keep", [0, 3600])
def test_uploads_end_with_their_vfolder(folder: Folder, jobs: Jobs, keep: int) -> None:
    own = folder.upload("f", len(DATA))
    assert patch(own, 0, DATA[: 1 << 20]).status_code == 204
    tree = folder.upload("", len(DATA), tree=True)
    made = post(tree, Upload_Length="100", Upload_Metadata=meta(filename="g"))
    other = urljoin(tree, made.headers["Location"])
    neighbour = Folder(folder.door, VFolderId(folder.id.scope, uuid4()))
    folder.door.backend.create_vfolder(neighbour.id)
    stays = neighbour.upload("h", 4)
    assert jobs.run("delete", folder, keep_seconds=keep) == "succeeded"
    assert [path.name for path in staged(folder)] == [_session(stays)]
    for url, offset in ((own, 1 << 20), (other, 0)):
        assert head(url).status_code == 404
        problem(patch(url, offset, b"x"), 404, "vfolder/not-found")
        assert refused_before_its_body(url, offset) == b"HTTP/1.1 404"
        assert (
            requests.delete(url, headers={"Tus-Resumable": "1.0.0"}, timeout=60).status_code == 404
        )
    problem(post(tree, Upload_Length="1", Upload_Metadata=meta(filename="i")), 404)
    assert patch(stays, 0, b"data").status_code == 204
    assert not folder.path.exists()


def _session(url: str) -> str:
    token = urlsplit(url).query.partition("=")[2]
    return str(jwt.decode(token, options={"verify_signature": False})["session"])


def test_a_request_that_writes_while_its_vfolder_goes_ends_soon(folder: Folder, jobs: Jobs) -> None:
    url = folder.upload("f", 1 << 30)
    answers: list[requests.Response] = []
    sent = threading.Event()

    def endless() -> Iterator[bytes]:
        while not answers:
            yield DATA[: 64 << 10]
            sent.set()
            time.sleep(0.01)

    def send() -> None:
        try:
            answers.append(patch(url, 0, endless()))  # type: ignore[arg-type] # requests takes it
        except requests.ConnectionError:  # closed before all of the body was read
            answers.append(head(url))

    sender = threading.Thread(target=send)
    sender.start()
    assert sent.wait(60)
    assert jobs.run("delete", folder) == "succeeded"
    sender.join(60)
    assert answers[0].status_code == 404
    assert staged(folder) == []


def test_tickets_of_a_deleted_vfolder_move_no_byte(folder: Folder, jobs: Jobs) -> None:
    folder.write("f", DATA)
    urls = [folder.download("f"), folder.download(".", archive=True), folder.archive(["f"])]
    for url in urls:
        assert requests.get(url, timeout=60).status_code == 200
    assert jobs.run("delete", folder, keep_seconds=3600) == "succeeded"
    for url in urls:
        answer = requests.get(url, timeout=60)
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("vfolder/not-found")
        assert requests.get(url, headers={"Range": "bytes=5-"}, timeout=60).status_code == 404


def test_after_a_restore_tickets_are_good_and_ended_uploads_stay_ended(
    folder: Folder, jobs: Jobs
) -> None:
    folder.write("f", DATA)
    download, upload = folder.download("f"), folder.upload("g", 4)
    tree = folder.upload("", 4, tree=True)
    assert jobs.run("delete", folder, keep_seconds=3600) == "succeeded"
    assert jobs.run("restore", folder) == "succeeded"
    assert requests.get(download, timeout=60).content == DATA
    problem(patch(upload, 0, b"data"), 404, "tus-session-not-found")
    assert post(tree, Upload_Length="4", Upload_Metadata=meta(filename="g")).status_code == 201


def test_a_delete_that_repeats_ends_what_was_left(folder: Folder, jobs: Jobs) -> None:
    """An upload that was being opened when the vfolder went, as seen by the next delete."""
    url = folder.upload("f", 4)
    folder.path.rmdir()
    assert head(url).status_code == 404
    assert jobs.run("delete", folder) == "partial"
    assert staged(folder) == []


def test_jobs_that_wait_for_it_end_at_once(folder: Folder, jobs: Jobs) -> None:
    """They end as failed without a run, and another job that brings the vfolder back ends that."""
    own = str(folder.id)
    absent = [str(VFolderId(folder.id.scope, uuid4())) for _ in range(3)]
    delete = jobs.submit("delete", vfolder=own, keep_seconds=3600)
    refused = [
        jobs.submit("usage", vfolder=own),
        *(jobs.submit("clone", source=own, target=target) for target in absent[:2]),
        jobs.submit("delete-files", vfolder=own, paths=["f"]),
        jobs.submit("extract", vfolder=own, source="a.tar", target="x", archive="tar"),
        jobs.submit("transfer", source=own, target=absent[2]),
        jobs.submit("snapshot", vfolder=own, action="create", name="s"),
    ]
    behind = jobs.submit("clone", source=absent[0], target=str(folder.door.vfolder().id))
    restore = jobs.submit("restore", vfolder=own)
    later = jobs.submit("extract", vfolder=own, source="a.tar", target="y", archive="tar")
    jobs.runner(delete.id, lambda _: None)
    assert jobs.store.get(delete.id).state is State.SUCCEEDED
    for job in refused:
        found = jobs.store.get(job.id)
        error = found.member("error")
        assert (found.state, found.attempt) == (State.FAILED, 0), found.verb
        assert error["error_code"] == "vfolder_read_not-found"
        assert "was deleted" in error["detail"]
        assert (error["retriable"], error["job_id"]) == (False, delete.id)
    for job in (restore, later, behind):
        assert jobs.store.get(job.id).state is State.QUEUED
    jobs.runner(restore.id, lambda _: None)
    assert jobs.store.get(restore.id).state is State.SUCCEEDED
    assert folder.path.exists()


def test_a_refused_job_keeps_no_upload(folder: Folder, jobs: Jobs) -> None:
    """An archive that a job was to unpack goes with the job."""
    delete = jobs.submit("delete", vfolder=str(folder.id))
    tree = folder.upload("", 512, tree=True)
    words = meta(filename="x", extract="tar")
    made = urljoin(tree, post(tree, Upload_Length="512", Upload_Metadata=words).headers["Location"])
    assert patch(made, 0, bytes(512)).status_code == 204
    assert folder.id.scope
    staging = folder.door.backend.mount.path / layout.area(folder.id.scope, layout.STAGING)
    assert len(list(staging.iterdir())) == 1
    jobs.runner(delete.id, lambda _: None)
    assert list(staging.iterdir()) == []


def test_space_that_was_reserved_for_the_uploads_is_free_again(folder: Folder, jobs: Jobs) -> None:
    backend = Volumes(load(folder.door.directory / "storage-proxy.toml", {})).get("local")
    assert folder.id.scope
    backend.set_limit(folder.id.scope, 10 << 20)
    url = folder.upload("f", 8 << 20)
    assert patch(url, 0, DATA).status_code == 204  # the door reserves the space
    with pytest.raises(QuotaExceeded):
        soft.reserve(backend, folder.id.scope, "another", 9 << 20)
    assert jobs.run("delete", folder) == "succeeded"
    soft.reserve(backend, folder.id.scope, "another", 9 << 20)
