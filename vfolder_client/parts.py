"""What a vfolder has beside its entries: removed entries, snapshots, links, and what is found."""

import errno
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from vfolder_client.connection import Connection
from vfolder_client.documents import in_query, moment, moment_text, normal_path
from vfolder_client.errors import EntryNotFound, EntryRefused, JobFailed
from vfolder_client.jobs import Job, Jobs

#: The most entries that a search answers at once.
_FOUND_MAX = 10_000
_ACCEPTED, _NOT_FOUND = 202, 404
#: The reason of a line of a report that names what was found.
_FOUND = "found"
#: What a change, or a new link, does not name.
_UNCHANGED: Any = object()


class _Part:
    """The routes of one part of a vfolder."""

    def __init__(self, connection: Connection, jobs: Jobs, route: str) -> None:
        self._connection = connection
        self._jobs = jobs
        self._route = route

    def _job(self, method: str, route: str, body: Mapping[str, Any] | None = None) -> Job:
        more: dict[str, Any] = {"headers": {"Idempotency-Key": uuid.uuid4().hex}}
        if body is not None:
            more["json"] = {name: value for name, value in body.items() if value is not None}
        return Job(self._jobs, self._connection.json(method, self._route + route, **more))


# -- Removed entries -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class RemovedEntries:
    """What one job removed, and what can still be restored; `paths` has the first 100."""

    #: That of the job.
    id: str
    removed_at: datetime | None
    expires_at: datetime | None
    size_bytes: int | None
    count: int
    paths: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "RemovedEntries":
        """Return the row of an answer."""
        return cls(
            id=document["id"],
            removed_at=moment(document["deleted_at"]),
            expires_at=moment(document["expires_at"]),
            size_bytes=document.get("size_bytes"),
            count=document["count"],
            paths=tuple(document["paths"]),
            document=dict(document),
        )


class EntryTrash(_Part):
    """The removed entries of a vfolder."""

    def list(self) -> "Sequence[RemovedEntries]":
        """Return what can be restored, the newest removal first."""
        answer = self._connection.json("GET", f"{self._route}/trash")
        return [RemovedEntries.of(one) for one in answer["trash"]]

    def restore(self, job_id: str) -> Job:
        """Bring back what a job removed, to the former places, by a job.

        Raises:
            TrashNotFound: the trash does not have it, or not any more.
            EntryExists: other entries have the names now; `members["paths"]` names them.
        """
        return self._job("POST", f"/trash/{job_id}/restore")

    def purge(self, job_id: str) -> Job:
        """Remove for good what a job removed, by a job; an owner may."""
        return self._job("DELETE", f"/trash/{job_id}")


# -- Snapshots -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a vfolder."""

    name: str
    created_at: datetime | None
    expires_at: datetime | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Snapshot":
        """Return the snapshot of an answer."""
        return cls(
            name=document["name"],
            created_at=moment(document.get("created_at")),
            expires_at=moment(document.get("expires_at")),
            document=dict(document),
        )


class Snapshots(_Part):
    """The snapshots of a vfolder, where its storage system has any."""

    def list(self) -> "Sequence[Snapshot]":
        """Return them, the oldest first.

        Raises:
            Unsupported: the storage system has no snapshots.
        """
        answer = self._connection.json("GET", f"{self._route}/snapshots")
        if "snapshots" not in answer:  # the storage system is slow: a job lists them
            answer = Job(self._jobs, answer).wait().result
        return [Snapshot.of(one) for one in answer["snapshots"]]

    def create(self, name: str, *, keep_seconds: float | None = None) -> Job:
        """Make one, by a job."""
        return self._job("POST", "/snapshots", {"name": name, "keep_seconds": keep_seconds})

    def delete(self, name: str) -> Job:
        """Delete one, by a job."""
        return self._job("DELETE", f"/snapshots/{name}")

    def restore_over(self, name: str, *, keep_seconds: float | None = None) -> Job:
        """Put one in the place of the vfolder itself, by a job; the owner may.

        What was there goes to the trash, for seven days or `keep_seconds`; `trash.restore(job.id)`
        brings back each entry whose name is free.
        """
        body = {"over": True, "keep_seconds": keep_seconds}
        return self._job("POST", f"/snapshots/{name}/restore", body)

    def restore(self, name: str, *, new_name: str | None = None, owner: str | None = None) -> Job:
        """Restore one to a new vfolder, by a job; `request["target"]` of the job has its id."""
        return self._job("POST", f"/snapshots/{name}/restore", {"name": new_name, "owner": owner})


# -- Links -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Link:
    """A link for visitors. `url` is known only when it is made."""

    id: str
    vfolder: str
    #: `read` or `drop`.
    kind: str
    path: str
    note: str
    has_password: bool
    downloads: int
    max_downloads: int | None
    expires_at: datetime | None
    revoked_at: datetime | None
    url: str | None = field(repr=False)
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Link":
        """Return the link of an answer."""
        return cls(
            id=document["id"],
            vfolder=document["vfolder"],
            kind=document["kind"],
            path=document["path"],
            note=document["note"],
            has_password=document["has_password"],
            downloads=document["downloads"],
            max_downloads=document.get("max_downloads"),
            expires_at=moment(document.get("expires_at")),
            revoked_at=moment(document.get("revoked_at")),
            url=document.get("url"),
            document=dict(document),
        )


class Links(_Part):
    """The links of a vfolder."""

    def list(self) -> "Sequence[Link]":
        """Return them, those that ended too."""
        answer = self._connection.json("GET", f"{self._route}/links")
        return [Link.of(one) for one in answer["links"]]

    def create(
        self,
        path: str = "",
        *,
        drop: bool = False,
        expires_at: datetime | str | None = _UNCHANGED,
        password: str | None = None,
        note: str = "",
        max_downloads: int | None = None,
        max_bytes: int | None = None,
        max_file_bytes: int | None = None,
    ) -> Link:
        """Make a link, to read below `path`, or with `drop` to send files into it.

        Without `expires_at` it ends when the service says (7 days), with None never, where the
        service permits that. A lost answer may leave a link whose URL no one knows.
        """
        body: dict[str, Any] = {"kind": "drop" if drop else "read", "path": normal_path(path)}
        body |= {"note": note, "password": password, "max_downloads": max_downloads}
        body |= {"max_bytes": max_bytes, "max_file_bytes": max_file_bytes}
        if expires_at is not _UNCHANGED:
            body["expires_at"] = moment_text(expires_at)
        return Link.of(self._connection.json("POST", f"{self._route}/links", json=body))


def links_of_caller(connection: Connection) -> Sequence[Link]:
    """Return the links that the caller made and did not revoke, of all vfolders."""
    return [Link.of(one) for one in connection.json("GET", "/v1/links")["links"]]


def revoke_link(connection: Connection, link_id: str) -> None:
    """End a link: its URL is that of no link from now on."""
    connection.send("DELETE", f"/v1/links/{link_id}")


@contextmanager
def absence() -> Iterator[None]:
    """Turn the refusal of an absent directory into `EntryNotFound`."""
    try:
        yield
    except EntryRefused as error:
        if error.members.get("errno") == errno.ENOENT:
            raise EntryNotFound(_NOT_FOUND, error.members) from error
        raise


# -- Search ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry that was found; of the many of a big search only the path is known."""

    path: str
    kind: str | None = None
    size_bytes: int | None = None
    modified_at: datetime | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "FoundEntry":
        """Return the entry of an answer, or of a line of a report."""
        return cls(
            path=document["path"],
            kind=document.get("kind"),
            size_bytes=document.get("size_bytes"),
            modified_at=moment(document.get("modified_at")),
        )


def found(
    connection: Connection, jobs: Jobs, route: str, terms: Mapping[str, Any]
) -> Iterator[FoundEntry]:
    """Yield what a search finds, in the order of paths; see `VFolder.find`.

    Raises:
        JobFailed: not all directories could be read, after what was found.
    """
    query = in_query(**terms, limit=_FOUND_MAX)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with absence():
        response = connection.send("GET", f"{route}/find?{query}", headers=headers)
    answer = response.json()
    if response.status_code != _ACCEPTED:
        yield from map(FoundEntry.of, answer["entries"])
        return
    job = Job(jobs, answer).wait(check=False)
    shown = job.result.get("entries", ())
    yield from map(FoundEntry.of, shown)
    if job.result.get("found", 0) > len(shown):
        lines = (line for line in jobs.report(job.id) if line.get("reason") == _FOUND)
        yield from (FoundEntry(line["path"]) for line in islice(lines, len(shown), None))
    if job.state != "succeeded":
        raise JobFailed(f"The search {job.id} is {job.state}: {job.sentence}", job.document)
