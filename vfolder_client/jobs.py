"""Jobs of the caller: look, follow to the end, cancel.

Jobs begin by what is done with vfolders: `VFolder.remove`, `delete`, `clone` and others.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any

import requests

from vfolder_client.connection import BROKEN, CONNECT_SECONDS, Connection
from vfolder_client.documents import in_query
from vfolder_client.errors import ClientError, JobFailed, JobNotFound, NotConnected, TryLater

#: A stream that is silent for so long is broken: the door sends a comment every ten seconds.
SILENCE_SECONDS = 30.0
#: The pause between two looks where no stream is to be had (seconds).
LOOK_SECONDS = 2.0
#: How long one look may wait for the end of the job at the door (seconds).
_HELD_SECONDS = 30
_EVENT_BYTES_MAX = 16 * 1024 * 1024

OnProgress = Callable[["Job"], object]


class Job:
    """A job as it was when it was looked at; `refresh`, `follow` and `wait` look again."""

    def __init__(self, jobs: "Jobs", document: Mapping[str, Any]) -> None:
        self._jobs = jobs
        self.document = dict(document)

    def __repr__(self) -> str:
        """Return id, verb and state."""
        return f"<Job {self.id} {self.verb} {self.state}>"

    @property
    def id(self) -> str:
        """The id."""
        return str(self.document["id"])

    @property
    def verb(self) -> str:
        """What it does, such as `delete-files`."""
        return str(self.document["verb"])

    @property
    def state(self) -> str:
        """One of queued, running, cancelling, succeeded, partial, failed, cancelled."""
        return str(self.document["state"])

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self.document["done"])

    @property
    def progress(self) -> Mapping[str, Any]:
        """The last figures; empty before the first ones. Unknown members are None."""
        return self.document.get("progress") or {}

    @property
    def result(self) -> Mapping[str, Any]:
        """What an ended job says of its work."""
        return self.document.get("result") or {}

    @property
    def sentence(self) -> str:
        """One sentence: how far it is, why it waits, or how it ended."""
        error = self.document.get("error")
        if self.done and error:
            return str(error.get("detail", self.state))
        found = self.result.get("sentence") if self.done else self.progress.get("text")
        return str(self.document.get("state_reason") or found or self.state)

    def refresh(self) -> "Job":
        """Look at it again, and return it."""
        return self._jobs.get(self.id)

    def follow(self) -> Iterator["Job"]:
        """Yield the job at every change, until it has ended."""
        return self._jobs.follow(self.id)

    def wait(
        self,
        on_progress: OnProgress | None = None,
        *,
        timeout_seconds: float | None = None,
        check: bool = True,
    ) -> "Job":
        """Return the job once it has ended; see `Jobs.wait`."""
        return self._jobs.ended(self, on_progress, timeout_seconds=timeout_seconds, check=check)

    def cancel(self) -> "Job":
        """Cancel it; what it began is removed."""
        return self._jobs.cancel(self.id)


class Jobs:
    """The jobs that the caller requested."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, limit: int | None = None, **filters: str) -> Iterator[Job]:
        """Yield the caller's jobs, the newest first; by `state`, `verb`, `volume`, `vfolder`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page_limit = None if left is None else min(left, 500)
            query = in_query(**filters, limit=page_limit, cursor=cursor)
            page = self._connection.json("GET", f"/v1/jobs?{query}")
            for document in page["jobs"]:
                yield Job(self, document)
            cursor = page["next"]
            if not cursor:
                return
            left = None if left is None else left - len(page["jobs"])

    def get(self, job_id: str, *, wait_seconds: int = 0) -> Job:
        """Return a job; `wait_seconds` delays the answer until it ends, 60 at most.

        Raises:
            JobNotFound: there is none, or the caller may not see it.
        """
        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        return Job(self, self._connection.json("GET", f"/v1/jobs/{job_id}", headers=headers))

    def log(self, job_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the events of a job, the oldest first."""
        found: Sequence[Mapping[str, Any]] = self._connection.json("GET", f"/v1/jobs/{job_id}/log")[
            "events"
        ]
        return found

    def report(self, job_id: str) -> Iterator[Mapping[str, Any]]:
        """Yield the lines of a job's report: `path` and `reason` of each entry."""
        response = self._connection.send("GET", f"/v1/jobs/{job_id}/report", stream=True)
        with response:
            for text in response.iter_lines():
                line = json.loads(text)
                if "path" in line:
                    yield line

    def cancel(self, job_id: str) -> Job:
        """Cancel a job.

        Raises:
            NotCancellable: it has ended, or cannot be undone any more.
        """
        return Job(self, self._connection.json("POST", f"/v1/jobs/{job_id}/cancel"))

    def follow(self, job_id: str) -> Iterator[Job]:
        """Yield a job at every change, until it has ended.

        A broken stream is continued where it ended. A door that has no stream left is asked again
        and again instead.

        Raises:
            NotConnected: the door does not answer any more. The job goes on.
        """
        seen: MutableSequence[str] = []
        patience = self._connection.patience()
        while True:
            try:
                for job in self._streamed(job_id, seen):
                    patience.progress()
                    yield job
                    if job.done:
                        return
            except TryLater:
                job = self._looked(job_id)
                yield job
                if job.done:
                    return
            except NotConnected as failure:
                patience.wait(failure)
            else:
                patience.wait(NotConnected("The stream of events ended before the job."))

    def _streamed(self, job_id: str, seen: MutableSequence[str]) -> Iterator[Job]:
        headers = {"Last-Event-ID": seen[-1]} if seen else {}
        response = self._connection.once(
            "GET",
            f"/v1/jobs/{job_id}/events",
            headers=headers,
            stream=True,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
        )
        with response:
            for number, name, data in events(_arrived(response)):
                if number:
                    seen[:] = [number]
                if name == "job":
                    yield Job(self, json.loads(data))
                elif name == "gone":
                    raise JobNotFound(404, {"detail": "The record of the job was deleted."})

    def _looked(self, job_id: str) -> Job:
        """Look once, held at the door; where the door does not hold it, pause here."""
        begun = time.monotonic()
        job = self.get(job_id, wait_seconds=_HELD_SECONDS)
        if not job.done and time.monotonic() - begun < LOOK_SECONDS:
            time.sleep(LOOK_SECONDS)
        return job

    def wait(
        self,
        job_id: str,
        on_progress: OnProgress | None = None,
        *,
        timeout_seconds: float | None = None,
        check: bool = True,
    ) -> Job:
        """Return a job once it has ended; `on_progress` gets it at every change.

        Raises:
            JobFailed: it ended in another way than success, and `check` is true.
            TimeoutError: it did not end in time. It goes on.
        """
        job = self.get(job_id)
        return self.ended(job, on_progress, timeout_seconds=timeout_seconds, check=check)

    def ended(
        self,
        job: Job,
        on_progress: OnProgress | None = None,
        *,
        timeout_seconds: float | None = None,
        check: bool = True,
    ) -> Job:
        """Return a job once it has ended, without a request where it has; see `wait`."""
        last = job
        for changed in self._changes(last, timeout_seconds):
            last = changed
            if on_progress is not None:
                on_progress(last)
        if check and last.state != "succeeded":
            raise JobFailed(f"The job {job.id} is {last.state}: {last.sentence}", last.document)
        return last

    def _changes(self, job: Job, timeout_seconds: float | None) -> Iterator[Job]:
        """Yield a job until it has ended: by its stream, or by looks where there is a timeout."""
        if timeout_seconds is None and not job.done:
            yield from self.follow(job.id)
            return
        ends = time.monotonic() + (timeout_seconds or 0)
        while True:
            yield job
            left = ends - time.monotonic()
            if job.done:
                return
            if left <= 0:
                raise TimeoutError(f"The job {job.id} did not end in time; it goes on.")
            begun = time.monotonic()
            job = self.get(job.id, wait_seconds=max(1, min(_HELD_SECONDS, round(left))))
            if not job.done and time.monotonic() - begun < 1:
                time.sleep(min(LOOK_SECONDS, left))


def _arrived(response: requests.Response) -> Iterator[bytes]:
    """Yield what arrives, as soon as it does.

    Raises:
        NotConnected: the connection breaks, or is silent for too long.
    """
    try:
        yield from response.iter_content(None)
    except BROKEN as error:
        raise NotConnected("The stream of events broke.") from error


def events(chunks: Iterator[bytes]) -> Iterator[tuple[str, str, str]]:
    """Yield events as (id, name, data) from the bytes of a stream (WHATWG HTML §9.2).

    Raises:
        ClientError: one line is longer than any of a door.
    """
    number, name, left = "", "message", b""
    data: list[str] = []
    for chunk in chunks:
        *lines, left = (left + chunk).split(b"\n")
        if len(left) > _EVENT_BYTES_MAX:
            raise ClientError("An event is too long.")
        for line in lines:
            key, _, value = line.decode("utf-8", "replace").removesuffix("\r").partition(":")
            value = value.removeprefix(" ")
            if not key and not value:
                if data:
                    yield number, name, "\n".join(data)
                name, data = "message", []
            elif key == "id":
                number = value
            elif key == "event":
                name = value
            elif key == "data":
                data.append(value)
