"""Flower shows the end of every job, and no observations and sweeps."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from core.jobs.requests import CloneRequest, DeleteFilesRequest, UsageRequest
from core.jobs.store import PREFIX, JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import CONFIG_VARIABLE, Settings
from tests.support import preloaded
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.ports import free_port
from tests.support.valkey import running_valkey
from tests.support.worker import running_worker
from workers import app as workers_app
from workers.node import ringer_of

LOGIN = ("operator", "password-of-the-tests")
#: Observations follow each other this fast (seconds).
OBSERVE_SECONDS = 1
SLOW_BYTES_PER_SECOND = 1000


@dataclass
class View:
    """Flower, and a node below it."""

    settings: Settings
    store: JobStore
    logs: dict[str, Path]

    def get(self, path: str) -> Any:
        url = f"http://{self.settings.vfolder.flower.address}{path}"
        with suppress(requests.ConnectionError):
            answer = requests.get(url, auth=LOGIN, timeout=60)
            return answer.json() if answer.ok else None
        return None

    def task(self, job: str) -> dict[str, Any]:
        return self.get(f"/api/task/info/{job}") or {}

    def folder(self) -> str:
        vfolder = VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")
        path = self.settings.directory / "local" / vfolder.directory
        path.mkdir(parents=True)
        (path / "a").write_bytes(bytes(100_000))
        return str(vfolder)

    def becomes(self, job: str, state: str) -> dict[str, Any]:
        """Flower's task of a job once it has a state."""
        found: dict[str, Any] = wait_for(
            lambda: t if (t := self.task(job)).get("state") == state else None,
            60,
            lambda: f"{self.task(job)}",
        )
        return found


@contextmanager
def running(name: str, settings: Settings) -> Iterator[Path]:
    log = settings.directory / f"{name}.log"
    with log.open("wb") as output:
        process = preloaded.start(
            "worker",
            ["workers.serve", name],
            output=output,
            environment=os.environ | {CONFIG_VARIABLE: settings.origin},
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait(60)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    directory = tmp_path_factory.mktemp("flower")
    with running_valkey(directory / "store") as server:
        more = f"""
[vfolder.flower]
addr = "127.0.0.1:{free_port()}"
password = "{LOGIN[1]}"
[storage-proxy.volume-stats]
observe-interval = {OBSERVE_SECONDS}
"""
        settings = settings_in(directory, server.url, more)
        with (
            connect(settings, Database.JOBS) as client,
            running("flower", settings) as log,
            running("beat", settings) as beat,
        ):
            store = JobStore(client, ringer_of(workers_app.make(settings)))
            found = View(settings, store, {"flower": log, "beat": beat})
            wait_for(lambda: found.get("/api/tasks") is not None, 120, log.read_text)
            with running_worker(settings):
                wait_for(lambda: found.get("/api/workers?refresh=1"), 120)
                yield found


def test_a_job_that_was_cancelled_while_it_ran(view: View) -> None:
    source = view.folder()
    target = f"{source.partition('/')[0]}/{uuid4().hex}"
    view.store.pause_volume("local")  # it has its pace before it begins
    job = view.store.submit(Submission(CloneRequest(volume="local", source=source, target=target)))
    view.store.set_pace(job.id, SLOW_BYTES_PER_SECOND)
    view.store.pause_volume("local", resume=True)
    view.becomes(job.id, "PROGRESS")
    view.store.cancel(job.id)
    assert view.becomes(job.id, "CANCELLED")["result"] == "The job was cancelled."


def test_a_job_that_was_cancelled_before_it_ran(view: View) -> None:
    view.store.pause_volume("local")
    job = view.store.submit(Submission(UsageRequest(volume="local", vfolder=view.folder())))
    view.store.cancel(job.id)
    view.store.pause_volume("local", resume=True)
    shown = view.becomes(job.id, "CANCELLED")
    assert shown["name"] == "storage.usage"
    assert shown["args"] == f"({job.fields['title']})"


def test_a_job_that_was_refused_before_it_ran(view: View) -> None:
    view.store.pause_volume("local")
    job = view.store.submit(Submission(UsageRequest(volume="local", vfolder=view.folder())))
    assert view.store.refuse(job.id, '{"detail": "The vfolder was deleted."}')
    view.store.pause_volume("local", resume=True)
    assert view.becomes(job.id, "FAILURE")["exception"] == "The vfolder was deleted."


def test_a_record_that_cannot_be_read_does_not_hide_other_ends(view: View) -> None:
    store, unreadable = view.store.redis, uuid4().hex
    store.hset(f"{PREFIX}job:{unreadable}", "id", unreadable)
    store.zadd(f"{PREFIX}ended:short", {unreadable: time.time() * 1000})
    view.store.pause_volume("local")
    job = view.store.submit(Submission(UsageRequest(volume="local", vfolder=view.folder())))
    view.store.cancel(job.id)
    view.store.pause_volume("local", resume=True)
    view.becomes(job.id, "CANCELLED")
    store.zrem(f"{PREFIX}ended:short", unreadable)
    store.delete(f"{PREFIX}job:{unreadable}")


def test_each_other_end(view: View) -> None:
    vfolder = view.folder()
    done = view.store.submit(Submission(UsageRequest(volume="local", vfolder=vfolder)))
    assert view.becomes(done.id, "SUCCESS")["result"].startswith("'counted 1 entry")
    nothing = DeleteFilesRequest(volume="local", vfolder=vfolder, paths=["none"])
    partial = view.store.submit(Submission(nothing))
    assert "partial: deleted nothing" in view.becomes(partial.id, "SUCCESS")["result"]
    absent = f"user:{uuid4()}/{uuid4().hex}"
    failed = view.store.submit(Submission(UsageRequest(volume="local", vfolder=absent)))
    assert "does not exist" in view.becomes(failed.id, "FAILURE")["exception"]


def test_observations_and_sweeps_are_not_shown(view: View) -> None:
    wait_for(lambda: view.logs["beat"].read_text().count("observe local") >= 2, 60)
    names = {task["name"] for task in view.get("/api/tasks").values()}
    assert names <= {"storage.clone", "storage.usage", "storage.delete-files"}


def test_the_start_warns_of_nothing(view: View) -> None:
    assert "Inspect method" not in view.logs["flower"].read_text()
