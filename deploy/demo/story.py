"""The steps of the demonstration, in the order of a user's work."""

import hashlib
import tempfile
import time
import uuid
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import requests

from deploy.demo import trees
from deploy.demo.node import DemoNode
from deploy.demo.show import DemoFailed, Show, Step

JOB_SECONDS = 600.0
GONE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_SOON_SECONDS = 0.02
_MIB = 1024 * 1024
_DIFFERENCES_SHOWN = 20
_BIG_NAME = "environment.tar"


class Story:
    """One demonstration on one node with one tree of real files."""

    def __init__(self, node: DemoNode, tree: Path, show: Show) -> None:
        self._doors = node.doors
        self._volume = node.volume
        self._tree = tree
        self._show = show
        self._scope = f"user:{uuid.uuid4()}"
        self._source = f"{self._scope}/{uuid.uuid4().hex}"
        self._target = f"{self._scope}/{uuid.uuid4().hex}"
        self._created: list[str] = []

    def run(self) -> None:
        """Run all steps; created vfolders are deleted at the end, also after a failure.

        Raises:
            DemoFailed: an answer or a comparison was wrong.
        """
        try:
            self._create()
            with tempfile.TemporaryDirectory(prefix="vfolder-demo-") as directory:
                digest = self._upload(Path(directory) / _BIG_NAME)
            count = self._place()
            self._clone()
            self._compare()
            self._download(digest)
            self._usage(count)
            self._delete()
        finally:
            self._clean_up()

    def _create(self) -> None:
        with self._show.step("created a quota scope and a vfolder") as step:
            self._doors.call("POST", "/quota-scope", volume=self._volume, qsid=self._scope)
            self._doors.call("POST", "/folder/create", volume=self._volume, vfid=self._source)
            self._created.append(self._source)
            step.found = self._source

    def _upload(self, big: Path) -> str:
        trees.pack(self._tree, big)
        size = big.stat().st_size
        with self._show.step("uploaded one big file by tus") as step:
            token = self._ticket("upload", _BIG_NAME, size=size)
            self._doors.upload(token, big, lambda sent: step.progress(f"{sent / size:.0%}"))
            step.found = f"{_BIG_NAME}, {_mib(size)}"
        with big.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _ticket(self, action: str, path: str, **facts: Any) -> str:  # noqa: ANN401 - any JSON value
        answer = self._doors.call(
            "POST",
            f"/folder/file/{action}",
            volume=self._volume,
            vfid=self._source,
            relpath=path,
            **facts,
        )
        return str(answer["token"])

    def _place(self) -> trees.Count:
        mount = self._mount(self._source)
        with self._show.step("put a real tree into the vfolder, by its mount") as step:
            trees.place(self._tree, mount)
            found = trees.count(mount)
            step.found = (
                f"{found.files:,} files, {found.directories:,} directories, "
                f"{found.symlinks:,} symlinks, {found.hard_links:,} hard links"
            )
        return found

    def _mount(self, vfolder: str) -> Path:
        answer = self._doors.call("GET", "/folder/mount", volume=self._volume, vfid=vfolder)
        return Path(answer["path"])

    def _clone(self) -> None:
        with self._show.step("cloned the vfolder by a job") as step:
            self._created.append(self._target)
            job = self._job(step, verb="clone", source=self._source, target=self._target)
            step.found = f"job {job['id']}, attempt {job['attempt']}"

    def _job(self, step: Step, **request: str) -> dict[str, Any]:
        return self._wait(self._submit(**request), step)

    def _submit(self, **request: str) -> str:
        answer = self._doors.call("POST", "/v1/jobs", volume=self._volume, **request)
        return str(answer["id"])

    def _wait(self, job_id: str, step: Step) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_SECONDS
        while True:
            job: dict[str, Any] = self._doors.call("GET", f"/v1/jobs/{job_id}")
            if job["done"]:
                break
            step.progress(_sentence(job))
            if time.monotonic() > deadline:
                raise DemoFailed(f"Job {job_id} has not ended: {_sentence(job)}")
            time.sleep(_POLL_SECONDS)
        if job["state"] != "succeeded":
            raise DemoFailed(f"Job {job_id} {job['state']}: {job['error']}")
        return job

    def _compare(self) -> None:
        with self._show.step("compared source and clone, byte by byte") as step:
            found = trees.differences(self._mount(self._source), self._mount(self._target))
            shown = list(islice(found, _DIFFERENCES_SHOWN))
            if shown:
                raise DemoFailed("The clone is not its source:\n" + "\n".join(shown))
            step.found = "equal: content, modes, owners, times (ns), symlinks, hard links"

    def _download(self, digest: str) -> None:
        with self._show.step("downloaded the big file by ticket") as step:
            found, size = self._doors.download_digest(self._ticket("download", _BIG_NAME))
            if found != digest:
                raise DemoFailed(f"{_BIG_NAME} came back with SHA-256 {found}, was {digest}.")
            step.found = f"{_mib(size)}, same SHA-256 {digest[:12]}…"

    def _usage(self, count: trees.Count) -> None:
        with self._show.step("counted its usage by a job") as step:
            result = self._job(step, verb="usage", vfolder=self._source)["result"]
            found = (result["files"], result["directories"], result["links"])
            if found != (count.files - count.hard_links, count.directories, count.symlinks):
                raise DemoFailed(f"The usage job found {result}, the tree has {count}.")
            step.found = f"{found[0]:,} files (hard links once), {_mib(result['used_bytes'])}"

    def _delete(self) -> None:
        began = time.monotonic()
        with self._show.step("deleted the vfolder by a job") as step:
            job_id = self._submit(verb="delete", vfolder=self._source)
            while self._doors.exists(self._volume, self._source):
                if time.monotonic() > began + GONE_SECONDS:
                    raise DemoFailed(f"The vfolder is still there {GONE_SECONDS:g} s after delete.")
                time.sleep(_SOON_SECONDS)
            gone = time.monotonic() - began
            self._wait(job_id, step)
            self._created.remove(self._source)
            step.found = f"gone after {gone:.2f} s, its bytes removed by the end of the job"
        if not self._mount(self._target).is_dir():
            raise DemoFailed("The clone was deleted with its source.")

    def _clean_up(self) -> None:
        for vfolder in self._created:
            with suppress(DemoFailed, requests.RequestException):  # report the first error
                self._submit(verb="delete", vfolder=vfolder)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"


def _sentence(job: dict[str, Any]) -> str:
    progress = job.get("progress") or {}
    return str(progress.get("text") or job.get("state_reason") or job["state"])
