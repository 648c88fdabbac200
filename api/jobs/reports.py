"""A job's report: the entries it could not do, one line each, and a last line that sums up.

The lines lie beside the data, written by the runs (`workers/run/report.py`); the last one is made
here from the record. Both together are one body with a size and a tag, so that a long report can be
fetched in parts (RFC 9110 §14). CSV is made from it line by line, in constant memory.
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
from core.errors import Conflict
from core.jobs import Job
from core.names import QuotaScope
from core.redis import json

CHUNK_BYTES = 256 * 1024
#: A report of another node comes in pieces of this size.
COPIED_PIECE_BYTES = 1024 * 1024
#: The columns of the CSV form; a summary line has none of its own there.
COLUMNS = ("path", "reason", "attempt")


@dataclass(frozen=True, slots=True)
class ReportBody:
    """An open report; the caller closes it. Without a file no entry failed."""

    fd: int | None
    listed_bytes: int
    summary: bytes
    etag: str

    @property
    def size(self) -> int:
        """Bytes of the JSON-lines form."""
        return self.listed_bytes + len(self.summary)

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """The bytes of a part, a chunk at a time."""
        end = start + length
        at = start
        while at < min(end, self.listed_bytes) and self.fd is not None:
            data = os.pread(self.fd, min(CHUNK_BYTES, end - at, self.listed_bytes - at), at)
            if not data:
                raise ConnectionResetError("the report shrank while it was sent")
            at += len(data)
            yield data
        if end > self.listed_bytes:
            yield self.summary[max(0, start - self.listed_bytes) : end - self.listed_bytes]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every entry that failed."""
        left = b""
        for piece in self.pieces(0, self.listed_bytes):
            *whole, left = (left + piece).split(b"\n")
            yield from (json.loads(line) for line in whole)

    def rows(self) -> Iterator[bytes]:
        """The CSV form (RFC 4180), in the very bytes of the names."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for number, line in enumerate(self.lines()):
            writer.writerow([line.get(name, "") for name in COLUMNS])
            if number % 1000 == 0:
                yield _taken(text)
        yield _taken(text)

    def close(self) -> None:
        """Close the file."""
        if self.fd is not None:
            os.close(self.fd)


def _taken(text: io.StringIO) -> bytes:
    data = text.getvalue().encode("utf-8", "surrogateescape")
    text.seek(0)
    text.truncate()
    return data


def opened(access: VolumeAccess, job: Job) -> ReportBody:
    """The report of a job as far as it is written; one of another node is copied here first.

    Raises:
        UnknownVolume: the volume of the job is not configured any more.
    """
    scope = QuotaScope.parse(job.scope) if job.scope else None
    if access.is_here(job.volume):
        fd = access.on_volume(job.volume, operations.open_report, scope, job.id)
    else:
        fd = _copied(access, job, scope)
    size, stamp = 0, 0
    if fd is not None:
        found = os.fstat(fd)
        size, stamp = found.st_size, found.st_mtime_ns
    summary = json.dumps(_summary(job)).encode() + b"\n"
    return ReportBody(fd, size, summary, f'"{job.id}-{job.version}-{size:x}-{stamp:x}"')


def _copied(access: VolumeAccess, job: Job, scope: QuotaScope | None) -> int | None:
    """A nameless copy of a report, as old as it is long: its tag changes only with its lines."""
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
    """The request of the job, as it was."""
    found: dict[str, Any] = job.member("request")
    return found


def failed_request(job: Job, access: VolumeAccess) -> dict[str, Any]:
    """The request with those of its paths at or below which something failed.

    Raises:
        Conflict: the job's verb does all or nothing, or nothing of it failed.
    """
    request = full_request(job)
    if job.verb != "delete-files":
        raise Conflict(f"The verb {job.verb} is tried again as a whole; leave out `only`.")
    report = opened(access, job)
    try:
        named = access.within_deadline(job.volume, _failed, report, set(request["paths"]))
    finally:
        report.close()
    if not named:
        raise Conflict("No path of the job failed; there is nothing to try again.", job_id=job.id)
    return request | {"paths": [path for path in request["paths"] if path in named]}


def _failed(report: ReportBody, paths: set[str]) -> set[str]:
    """Those of the paths at or below which something failed."""
    named: set[str] = set()
    for line in report.lines():
        named |= {path for path in _above(line["path"]) if path in paths}
        if named == paths:
            break
    return named


def _above(path: str) -> list[str]:
    """The path and every directory above it."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
