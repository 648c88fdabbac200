"""Reports of jobs, and retries made from them.

A report has one line per entry that failed, and a last line with a summary. The attempts write the
lines beside the data (`workers/run/report.py`); the summary is made here from the record. Together
they are one body with a size and an ETag, so a long report can be fetched in parts (RFC 9110 §14).
CSV is made from it line by line, in constant memory.
"""

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.volumes import VolumeAccess
from backends.volumes import operations
from backends.volumes.artifacts import ArtifactStorages
from core.errors import Conflict, StorageKindWrong, StorageNotFound
from core.jobs import Job
from core.jobs.requests import is_of_artifacts, storage_of
from core.names import QuotaScope
from core.redis import json

CHUNK_BYTES = 256 * 1024
#: The size of the pieces in which a report of another node is copied.
COPIED_PIECE_BYTES = 1024 * 1024
#: The columns of the CSV form, which has no summary.
COLUMNS = ("path", "reason", "attempt")


@dataclass(frozen=True, slots=True)
class ReportBody:
    """An open report; the caller closes it. Without a file, no entry failed."""

    fd: int | None
    listed_bytes: int
    summary: bytes
    etag: str

    @property
    def size(self) -> int:
        """Return the size of the JSON-lines form in bytes."""
        return self.listed_bytes + len(self.summary)

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """Yield the bytes of a part, a chunk at a time."""
        end = start + length
        at = start
        while at < min(end, self.listed_bytes) and self.fd is not None:
            data = os.pread(self.fd, min(CHUNK_BYTES, end - at, self.listed_bytes - at), at)
            if not data:
                raise ConnectionResetError("the report became shorter while it was sent")
            at += len(data)
            yield data
        if end > self.listed_bytes:
            yield self.summary[max(0, start - self.listed_bytes) : end - self.listed_bytes]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield every entry that failed."""
        left = b""
        for piece in self.pieces(0, self.listed_bytes):
            *complete, left = (left + piece).split(b"\n")
            yield from (json.loads(line) for line in complete)

    def rows(self) -> Iterator[bytes]:
        """Yield the CSV form (RFC 4180), with the original bytes of the names."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for number, line in enumerate(self.lines()):
            writer.writerow([line.get(name, "") for name in COLUMNS])
            if number % 1000 == 0:
                yield _drain(text)
        yield _drain(text)

    def close(self) -> None:
        """Close the file."""
        if self.fd is not None:
            os.close(self.fd)


def _drain(text: io.StringIO) -> bytes:
    data = text.getvalue().encode("utf-8", "surrogateescape")
    text.seek(0)
    text.truncate()
    return data


def open_report(
    access: VolumeAccess, job: Job, storages: ArtifactStorages | None = None
) -> ReportBody:
    """Open the report of a job, with the lines written so far; first copy one of another node.

    Raises:
        UnknownVolume: no node serves the volume of the job any more.
    """
    scope = QuotaScope.parse(job.scope) if job.scope else None
    if is_of_artifacts(job.volume):
        fd = _of_storage(job, storages)
    elif access.is_here(job.volume):
        fd = access.on_volume(job.volume, operations.open_report, scope, job.id)
    else:
        fd = _copied(access, job, scope)
    size, stamp = 0, 0
    if fd is not None:
        status = os.fstat(fd)
        size, stamp = status.st_size, status.st_mtime_ns
    summary = json.dumps(_summary(job)).encode() + b"\n"
    return ReportBody(fd, size, summary, f'"{job.id}-{job.version}-{size:x}-{stamp:x}"')


def _of_storage(job: Job, storages: ArtifactStorages | None) -> int | None:
    """Open the report of a job that works on an artifact storage; None where there is none."""
    name = storage_of(job.volume)
    if name is None or storages is None:
        return None
    try:
        return storages.vfs(name).open_report(job.id)
    except (StorageNotFound, StorageKindWrong):  # of another node, or without files
        return None


def _copied(access: VolumeAccess, job: Job, scope: QuotaScope | None) -> int | None:
    """Return an unnamed copy of a report. Its time is fixed: only its size changes the ETag."""
    with tempfile.TemporaryFile() as copy:
        while True:
            at = copy.tell()
            piece = access.on_volume(
                job.volume, operations.read_report, scope, job.id, at, COPIED_PIECE_BYTES
            )
            if piece is None:
                return None
            if not piece:
                break
            copy.write(piece)
        copy.flush()
        os.utime(copy.fileno(), (0, 0))
        return os.dup(copy.fileno())


def _summary(job: Job) -> dict[str, Any]:
    document = job.document()
    names = ("id", "verb", "volume", "state", "attempt", "created_at", "started_at", "ended_at")
    progress = document["progress"] or {}
    result = document["result"] or {}
    return {
        "summary": {name: document[name] for name in names}
        | {
            "errors": progress.get("errors"),
            "lines_lost": result.get("report_lost", 0),
            "error": document["error"],
        },
    }


def full_request(job: Job) -> dict[str, Any]:
    """Return the request of the job."""
    request: dict[str, Any] = job.member("request")
    return request


def failed_request(job: Job, access: VolumeAccess) -> dict[str, Any]:
    """Return the request of the job, with only those paths at or below which an entry failed.

    Raises:
        Conflict: the verb cannot be retried in part, or no entry failed.
    """
    request = full_request(job)
    if job.verb != "delete-files":
        raise Conflict(f"only: the verb {job.verb} is always retried completely; leave it out.")
    report = open_report(access, job)
    try:
        failed = access.within_deadline(job.volume, _failed_paths, report, set(request["paths"]))
    finally:
        report.close()
    if not failed:
        raise Conflict("No path of the job failed; there is nothing to retry.", job_id=job.id)
    return request | {"paths": [path for path in request["paths"] if path in failed]}


def _failed_paths(report: ReportBody, paths: set[str]) -> set[str]:
    """Return those of the paths at or below which an entry failed."""
    failed: set[str] = set()
    for line in report.lines():
        failed |= {path for path in _above(line["path"]) if path in paths}
        if failed == paths:
            break
    return failed


def _above(path: str) -> list[str]:
    """Return the path and every directory above it."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
