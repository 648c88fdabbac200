"""One vfolder: its entries, their content, its grants, its life."""

import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from vfolder_client.connection import Connection
from vfolder_client.content import (
    OnTransfer,
    RemoteReader,
    RemoteTextWriter,
    RemoteWriter,
    SyncOptions,
    SyncResult,
    TransferMeter,
    TransferResult,
    copy_entry,
    download_file,
    download_tree,
    sync_down,
    sync_up,
    upload_file,
    upload_tree,
)
from vfolder_client.documents import (
    ROOT,
    DirectoryResult,
    Entry,
    Grant,
    Ticket,
    VFolderInfo,
    in_query,
    joined,
    moment_text,
    normal_path,
)
from vfolder_client.errors import EntryNotFound
from vfolder_client.jobs import Job, Jobs
from vfolder_client.parts import EntryTrash, FoundEntry, Links, Snapshots, absence, found

#: Entries of a page, directories of a request, and paths of a removal: the most of the door.
_PAGE, DIRECTORIES_MAX, _PATHS_MAX = 5000, 1000, 10_000
#: Requests that go side by side for one large file, and for the files of a directory.
PARALLEL = 4
_MODES = ("r", "rb", "w", "wb", "x", "xb")
_BUFFER_BYTES = 1024 * 1024
#: What a change does not name.
_UNCHANGED: Any = object()


class VFolder:
    """One vfolder. `info` looks at it once and keeps what it saw; `refresh` looks again."""

    def __init__(
        self, connection: Connection, jobs: Jobs, reference: str, info: VFolderInfo | None = None
    ) -> None:
        self.connection = connection
        self.jobs = jobs
        #: `ID`, or `VOLUME:ID`.
        self.reference = reference
        self._info = info
        self.trash = EntryTrash(connection, jobs, self.route)
        self.snapshots = Snapshots(connection, jobs, self.route)
        self.links = Links(connection, jobs, self.route)

    def __repr__(self) -> str:
        """Return the reference."""
        return f"<VFolder {self.reference}>"

    @property
    def route(self) -> str:
        """The path of its routes."""
        return f"/v1/vfolders/{self.reference}"

    @property
    def name(self) -> str | None:
        """Its name; None where its owner gave none."""
        return self.info().name

    def info(self) -> VFolderInfo:
        """Return what is known of it; the first call looks."""
        return self._info or self.refresh()

    def refresh(self) -> VFolderInfo:
        """Look at it again.

        Raises:
            VFolderNotFound: it is not there, or the caller may not see it.
            AmbiguousReference: the id is on several volumes.
        """
        self._info = VFolderInfo.of(self.connection.json("GET", self.route))
        return self._info

    def is_same(self, other: "VFolder") -> bool:
        """Return whether both are one vfolder, whatever they are called."""
        if self.reference == other.reference:
            return True
        return self.info().reference == other.info().reference

    # -- Entries -----------------------------------------------------------------------------------
    def list(self, path: str = "") -> Iterator[Entry]:
        """Yield the entries of a directory in the order of their names.

        Cost: a request for each 5,000 of them.

        Raises:
            EntryNotFound: no entry has this path.
            EntryRefused: it is no directory.
        """
        directory, cursor = normal_path(path), None
        while True:
            query = in_query(path=directory or None, limit=_PAGE, cursor=cursor)
            with absence():
                page = self.connection.json("GET", f"{self.route}/entries?{query}")
            for row in page["entries"]:
                yield Entry.of(row, joined(directory, row["name"]))
            cursor = page["next"]
            if not cursor:
                return

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Yield all entries below a directory, each directory before what is in it.

        Symlinks are not followed. Cost: a request for each directory.
        """
        waiting = [normal_path(path)]
        while waiting:
            below = []
            for entry in self.list(waiting.pop()):
                yield entry
                if entry.is_directory:
                    below.append(entry.path)
            waiting += reversed(below)

    def stat(self, path: str) -> Entry:
        """Look at one entry; a symlink itself. A file has the `etag` of its content.

        Raises:
            EntryNotFound: no entry has this path.
        """
        wanted = normal_path(path)
        if not wanted:
            self.info()
            return ROOT
        query = in_query(path=wanted)
        response = self.connection.send("GET", f"{self.route}/entry?{query}")
        return Entry.of(response.json(), wanted).with_etag(response.headers.get("ETag"))

    def exists(self, path: str) -> bool:
        """Return whether an entry has this path."""
        try:
            self.stat(path)
        except EntryNotFound:
            return False
        return True

    def mkdir(self, *paths: str, parents: bool = True) -> Sequence[DirectoryResult]:
        """Make directories; one that exists is a success. Each path has its own result."""
        results = []
        for begin in range(0, len(paths), DIRECTORIES_MAX):
            wanted = [normal_path(one) for one in paths[begin : begin + DIRECTORIES_MAX]]
            answer = self.connection.json(
                "POST",
                f"{self.route}/directories",
                json={"paths": wanted, "parents": parents},
                repeatable=True,
            )
            results += [DirectoryResult(one["path"], one["problem"]) for one in answer["results"]]
        return results

    def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Rename or move an entry within the vfolder; `target` is its new path.

        Nothing is replaced unless `overwrite` is true: then a file replaces a file.

        Raises:
            EntryExists: something has the name.
        """
        query = in_query(path=normal_path(source))
        body = {"to": normal_path(target), "overwrite": overwrite}
        self.connection.send("PATCH", f"{self.route}/entry?{query}", json=body)

    def find(
        self,
        path: str = "",
        *,
        match: str | None = None,
        kind: str | None = None,
        min_bytes: int | None = None,
        max_bytes: int | None = None,
        newer_than: datetime | str | None = None,
        older_than: datetime | str | None = None,
    ) -> Iterator[FoundEntry]:
        """Yield the entries below a directory that fit, in the order of their paths.

        `match` is a pattern of names as a shell has it, with `/` one of paths. The service looks;
        a big search is a job, and of what it finds behind the first 1,000 only paths are known.

        Raises:
            EntryNotFound, EntryRefused: there is no such directory.
            JobFailed: not all directories could be read, after what was found.
        """
        moments = {"newer_than": moment_text(newer_than), "older_than": moment_text(older_than)}
        sizes = {"min_bytes": min_bytes, "max_bytes": max_bytes}
        terms = {"path": normal_path(path) or None, "match": match, "kind": kind}
        return found(self.connection, self.jobs, self.route, {**terms, **sizes, **moments})

    def remove(
        self,
        *paths: str,
        recursive: bool = False,
        keep_seconds: float | None = None,
        held_seconds: int = 0,
    ) -> Job:
        """Remove entries by a job; absent ones are skipped. `wait` of the job waits for its end.

        `trash.restore` with the id of the job brings them back, for 7 days or `keep_seconds`.
        With 0 they are removed for good, which an owner may.

        The door holds its answer for up to `held_seconds`, so that a short job has ended by then.

        Raises:
            ValueError: no path is given, or more than 10,000, or the root of the vfolder.
        """
        wanted = [normal_path(one) for one in paths]
        if not wanted or len(wanted) > _PATHS_MAX or not all(wanted):
            raise ValueError(f"Name 1 to {_PATHS_MAX} entries; the root is no entry.")
        body: dict[str, Any] = {"paths": wanted, "recursive": recursive}
        if keep_seconds is not None:
            body["keep_seconds"] = keep_seconds
        more = {"Prefer": f"wait={held_seconds}"} if held_seconds else {}
        return self._job("POST", "/delete", more, json=body)

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove any number of entries with all that is below them, and wait for the end.

        Raises:
            JobFailed: some are still there.
        """
        for begin in range(0, len(paths), _PATHS_MAX):
            self.remove(*paths[begin : begin + _PATHS_MAX], recursive=True, held_seconds=1).wait()

    # -- Content -----------------------------------------------------------------------------------
    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return the content of a file, or `size` bytes of it from `offset` on."""
        with RemoteReader(self.connection, self.content_url(path)) as reader:
            reader.seek(offset)
            return reader.read(-1 if size is None else size)

    def write(self, path: str, data: bytes, *, overwrite: bool = True) -> None:
        """Make a file with this content, complete or not at all.

        Raises:
            PreconditionFailed: an entry has the name, and `overwrite` is false.
        """
        with RemoteWriter(
            self.connection, self.route, normal_path(path), overwrite=overwrite
        ) as to:
            to.write(data)

    def open(
        self,
        path: str,
        mode: str = "rb",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Return a file object: `r`, `w` or `x`, with `b` for bytes.

        A reader seeks and reads ranges of one version of the file. What is written appears as one,
        at the end of a `with` that no exception ends; `x` never replaces.

        Raises:
            ValueError: the mode is another one.
        """
        if mode not in _MODES:
            raise ValueError(f"The mode is one of {', '.join(_MODES)}.")
        if mode.startswith("r"):
            raw = RemoteReader(self.connection, self.content_url(path))
            reader = io.BufferedReader(raw, _BUFFER_BYTES)
            return (
                reader
                if "b" in mode
                else io.TextIOWrapper(reader, encoding or "utf-8", errors, newline)
            )
        wanted = normal_path(path)
        overwrite = mode[0] == "w"
        writer = RemoteWriter(self.connection, self.route, wanted, overwrite=overwrite)
        if "b" in mode:
            return writer  # type: ignore[return-value] # typeshed has no protocol of file objects
        return RemoteTextWriter(writer, encoding, errors, newline)

    def content_url(self, path: str) -> str:
        """Return the route of the content of a file."""
        return f"{self.route}/content?{in_query(path=normal_path(path))}"

    def download(
        self,
        path: str,
        target: str | Path,
        *,
        parallel: int = PARALLEL,
        resume: bool = True,
        overwrite: bool = True,
        on_progress: OnTransfer | None = None,
    ) -> TransferResult:
        """Copy a file or a directory to the local path `target`, which is the name of the copy.

        Large files come in ranges, side by side, all of one version. An interrupted download goes
        on where it was. Files that are there with the same size and time are left. Symlinks are
        not copied; the result names them.

        Raises:
            EntryNotFound: no entry has this path.
            FileExistsError: the target is there, and `overwrite` is false.
            TransferBroken: the file changes again and again, or another process downloads it.
        """
        meter = TransferMeter("download", on_progress)
        entry = self.stat(path)
        options: dict[str, Any] = {"parallel": parallel, "resume": resume, "overwrite": overwrite}
        if entry.is_directory:
            return download_tree(self, entry, Path(target), meter=meter, **options)
        return download_file(self, entry, Path(target), meter=meter, **options)

    def upload(
        self,
        source: str | Path,
        path: str,
        *,
        parallel: int = PARALLEL,
        resume: bool = True,
        overwrite: bool = True,
        skip_same: bool = False,
        on_progress: OnTransfer | None = None,
    ) -> TransferResult:
        """Copy a local file or directory to `path`, which is the name of the copy.

        Each file appears when all of it is there. An interrupted upload goes on where it was.
        `skip_same` leaves files of a directory that are there with the same size, and newer.
        Symlinks and special files are not copied; the result names them.

        Raises:
            FileNotFoundError: there is no such local file.
            PreconditionFailed: an entry has the name, and `overwrite` is false.
            TransferBroken: the local file changes meanwhile.
        """
        meter = TransferMeter("upload", on_progress)
        local, wanted = Path(source), normal_path(path)
        options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "meter": meter}
        if local.is_dir():
            return upload_tree(
                self, local, wanted, parallel=parallel, skip_same=skip_same, **options
            )
        return upload_file(self, local, wanted, **options)

    def copy(
        self,
        path: str,
        target: str,
        *,
        to: "VFolder | None" = None,
        parallel: int = PARALLEL,
        overwrite: bool = True,
        on_progress: OnTransfer | None = None,
    ) -> TransferResult:
        """Copy a file or a directory to the path `target` of the vfolder `to`, else of this one.

        The bytes pass through this machine: the API has no copy of its own. Symlinks are left out.

        Raises:
            EntryNotFound: no entry has this path.
            ValueError: a directory would be copied into itself.
        """
        entry, folder, wanted = self.stat(path), to or self, normal_path(target)
        below = not entry.path or f"{wanted}/".startswith(f"{entry.path}/")
        if below and self.is_same(folder):
            raise ValueError(f"{wanted} is {entry.path or 'the vfolder'} itself, or below it.")
        meter = TransferMeter("copy", on_progress)
        return copy_entry(
            self, entry, (folder, wanted), parallel=parallel, overwrite=overwrite, meter=meter
        )

    def sync_up(
        self,
        source: str | Path,
        path: str = "",
        options: SyncOptions | None = None,
        *,
        on_progress: OnTransfer | None = None,
    ) -> SyncResult:
        """Make the directory `path` like the local directory `source`, with what `source` has.

        A file is copied where it is absent, has another size, or was not written after the local
        one; with `checksum` where its bytes differ, for which both sides are read. With `delete`
        what `source` does not have is removed; never after an incomplete look or a failed copy.
        `dry_run` only says what would be done.

        Raises:
            FileNotFoundError, NotADirectoryError: there is no such local directory.
            EntryRefused: `path` is no directory.
        """
        meter, chosen = TransferMeter("sync", on_progress), options or SyncOptions()
        return sync_up(self, Path(source), normal_path(path), chosen, meter)

    def sync_down(
        self,
        path: str,
        target: str | Path,
        options: SyncOptions | None = None,
        *,
        on_progress: OnTransfer | None = None,
    ) -> SyncResult:
        """Make the local directory `target` like the directory `path`; see `sync_up`.

        A file is copied where it is absent, or has another size or time of modification.

        Raises:
            EntryNotFound, EntryRefused: there is no such directory.
            NotADirectoryError: `target` is no directory.
        """
        meter, chosen = TransferMeter("sync", on_progress), options or SyncOptions()
        return sync_down(self, normal_path(path), Path(target), chosen, meter)

    def download_ticket(self, path: str, *more: str) -> Ticket:
        """Return a URL that downloads a file, or with several paths an archive of them.

        Its download begins within five minutes. Who has the URL can read what it names.
        """
        wanted = [normal_path(one) for one in (path, *more)]
        order = {"act": "archive", "paths": wanted} if more else {"path": wanted[0]}
        body = {"act": "download", **order}
        answer = self.connection.json("POST", f"{self.route}/tickets", json=body, repeatable=True)
        return Ticket.of(answer)

    # -- Sharing -----------------------------------------------------------------------------------
    def grants(self) -> Sequence[Grant]:
        """Return the grants; who does not own the vfolder sees its own."""
        found = self.connection.json("GET", f"{self.route}/grants")
        return [Grant.of(one) for one in found["grants"]]

    def share(
        self,
        to: str,
        permission: str,
        *,
        expires_at: datetime | str | None = None,
        note: str = "",
    ) -> Grant:
        """Give `ro`, `rw` or `rwd` to `user:<uuid>` or `group:<uuid>`, in place of an old grant."""
        body: dict[str, Any] = {"to": to, "permission": permission, "note": note}
        if expires_at is not None:
            body["expires_at"] = moment_text(expires_at)
        answer = self.connection.json("POST", f"{self.route}/grants", json=body, repeatable=True)
        return Grant.of(answer)

    def change_grant(
        self,
        grant_id: str,
        *,
        permission: str = _UNCHANGED,
        expires_at: datetime | str | None = _UNCHANGED,
        note: str = _UNCHANGED,
    ) -> Grant:
        """Change a grant; what is not given stays, and None as the end takes the end away."""
        given = {"permission": permission, "expires_at": expires_at, "note": note}
        body = {key: value for key, value in given.items() if value is not _UNCHANGED}
        if "expires_at" in body:
            body["expires_at"] = moment_text(body["expires_at"])
        answer = self.connection.json(
            "PATCH", f"{self.route}/grants/{grant_id}", json=body, repeatable=True
        )
        return Grant.of(answer)

    def revoke_grant(self, grant_id: str) -> None:
        """Revoke a grant; a grantee may give back its own."""
        self.connection.send("DELETE", f"{self.route}/grants/{grant_id}")

    # -- Its life ----------------------------------------------------------------------------------
    def change(
        self,
        *,
        name: str = _UNCHANGED,
        group_permission: str = _UNCHANGED,
        expires_at: datetime | str | None = _UNCHANGED,
        limit_bytes: int | None = _UNCHANGED,
        revision: int | None = None,
    ) -> VFolderInfo:
        """Change name, end, limit, or what members of the group may do; what is not given stays.

        Raises:
            RevisionChanged: it has another `revision` now than the given one.
        """
        given: dict[str, Any] = {"name": name, "group_permission": group_permission}
        given |= {"expires_at": expires_at, "limit_bytes": limit_bytes}
        body = {key: value for key, value in given.items() if value is not _UNCHANGED}
        if "expires_at" in body:
            body["expires_at"] = moment_text(body["expires_at"])
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        answer = self.connection.json("PATCH", self.route, json=body, headers=headers)
        self._info = VFolderInfo.of(answer)
        return self._info

    def delete(self, *, keep_seconds: int | None = None) -> Job:
        """Move it to the trash, by a job; it can be restored for 7 days, or `keep_seconds`."""
        query = in_query(keep_seconds=keep_seconds)
        return self._job("DELETE", f"?{query}" if query else "")

    def restore(self, trash: str | None = None) -> Job:
        """Restore it from the trash, by a job; `trash` is the id of a deletion, else the newest."""
        return self._job("POST", "/restore", json={} if trash is None else {"trash": trash})

    def clone(
        self,
        name: str,
        *,
        volume: str | None = None,
        owner: str | None = None,
        verify: str | None = None,
    ) -> Job:
        """Copy it to a new vfolder, by a job; `document["request"]["target"]` has the new id.

        `verify` is `none`, `size` (as without it) or `checksum`.
        """
        given = {"name": name, "volume": volume, "owner": owner, "verify": verify}
        body = {key: value for key, value in given.items() if value is not None}
        return self._job("POST", "/clone", json=body)

    def transfer(self, path: str, to: "VFolder", target: str, **terms: Any) -> Job:  # noqa: ANN401 - members of the request
        """Copy a path to the path `target` of another vfolder, by a job of the service.

        `terms` are those of the verb `transfer`, such as `on_conflict="replace"` (as without it
        the job fails where an entry differs), `delete_extra=True`, `verify="checksum"`.
        """
        places = {"source_path": normal_path(path), "target_path": normal_path(target)}
        return self._job("POST", "/transfer", json={"to": to.reference, **places, **terms})

    def move_to(self, to: "VFolder", path: str, target: str, **terms: Any) -> Job:  # noqa: ANN401 - see `transfer`
        """Move a path to the path `target` of another vfolder, by a job of the service.

        What arrived goes to the trash of this vfolder, for `keep_seconds` (7 days), and
        `trash.restore(job.id)` brings it back. What changed meanwhile stays; the job is `partial`.
        """
        return self.transfer(path, to, target, remove_source=True, **terms)

    def count(self) -> Job:
        """Count its files and bytes, by a job."""
        return self._job("POST", "/usage", {"Idempotency-Key": uuid.uuid4().hex})

    def offer(self, to: str | None) -> VFolderInfo:
        """Offer it to `user:<uuid>` or `group:<uuid>`, who becomes the owner by `accept`.

        None takes the offer back.
        """
        answer = self.connection.json("POST", f"{self.route}/owner", json={"to": to})
        self._info = VFolderInfo.of(answer)
        return self._info

    def accept(self) -> VFolderInfo:
        """Become its owner, where it was offered to the caller or to a group of it."""
        self._info = VFolderInfo.of(self.connection.json("POST", f"{self.route}/owner/accept"))
        return self._info

    def purge(self) -> Job:
        """Remove its latest deletion for good, by a job."""
        return self._job("POST", "/purge")

    def _job(
        self,
        method: str,
        route: str,
        more: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - as requests takes them
    ) -> Job:
        headers = dict(more or {})
        if "json" in options:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        document = self.connection.json(method, self.route + route, headers=headers, **options)
        return Job(self.jobs, document)
