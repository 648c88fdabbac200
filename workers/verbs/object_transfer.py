"""Transfers and clones from objects to files.

The selected objects are fetched into the staging beside the target. Then they are a tree of files,
and the steps are those of every transfer; a new directory is published as it was fetched.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from backends.entries import ObjectEntry, ObjectTree, OpenObject
from backends.fs import descriptors, linux, reason_of
from backends.systems.s3 import in_order
from backends.tree import Selection, remove_tree, status_from_wire
from core.errors import BackendFailed, EntryNotFound, StorageError, Unavailable, VFolderExists
from core.jobs import Counter
from core.jobs.requests import CloneRequest, TransferRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest, Run
from workers.verbs.object_attributes import ObjectAttributes, attributes_of
from workers.verbs.objects import objects_of
from workers.verbs.transfer import COUNTED, FETCHED_TREE, Transfer, clone_as_transfer
from workers.verbs.transfer.publish import FILE, NEW, Publisher

#: Files that are moved beside each other.
BESIDE = 16
BLOCK_BYTES = 1 << 20
_NS = 10**9
#: What a fetched file keeps of a mode: never the set-id bits, which anyone who may write to the
#: bucket could set.
_MODE_KEPT = 0o777
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
#: The directory of the staging with files that are not complete yet.
_DRAFTS = "drafts"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

T = TypeVar("T")
R = TypeVar("R")


def as_transfer(request: CloneRequest | TransferRequest) -> TransferRequest:
    """Return the transfer that a request is, with its verification."""
    if isinstance(request, TransferRequest):
        return request
    return msgspec.structs.replace(clone_as_transfer(request), verify=request.verify)


def beside(work: Callable[[T], R], items: Iterable[T], most: int = BESIDE) -> Iterator[R]:
    """Yield the results of `work` in the order of the items; at most `most` run at a time."""
    with ThreadPoolExecutor(most, thread_name_prefix="transfer") as threads:
        yield from in_order(threads, work, items, most)


@dataclass(frozen=True, slots=True)
class _Facts:
    """The attributes of an object that rules and bounds of a selection look at."""

    st_mode: int
    st_size: int
    st_mtime_ns: int


class ChosenObjects:
    """Which objects of a tree a request selects: an excluded directory excludes all below it."""

    def __init__(self, selection: Selection | None) -> None:
        self._selection = selection
        self._known: dict[tuple[str, ...], bool] = {(): True}

    def __call__(self, one: ObjectEntry) -> bool:
        """Return whether an object is selected."""
        if self._selection is None or one.path is None:
            return True
        parts = one.path.parts
        if not self._enters(parts[:-1]):
            return False
        return self._enters(parts) if one.marker else self._includes(parts, _facts_of(one))

    def _enters(self, parts: tuple[str, ...]) -> bool:
        known = self._known.get(parts)
        if known is None:
            facts = _Facts(stat.S_IFDIR | 0o755, 0, 0)
            known = self._enters(parts[:-1]) and self._includes(parts, facts)
            self._known[parts] = known
        return known

    def _includes(self, parts: tuple[str, ...], facts: Any) -> bool:  # noqa: ANN401 - as a stat
        return self._selection is None or self._selection.includes("/".join(parts), facts)


def _facts_of(one: ObjectEntry) -> _Facts:
    """Return what a listing says of a file: the time is that of its writing."""
    mtime = int(one.modified.timestamp() * _NS) if one.modified else 0
    return _Facts(stat.S_IFREG | 0o644, one.size, mtime)


# -- From objects ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class FetchedLink:
    """A symlink: its target, and its attributes."""

    text: str
    attributes: ObjectAttributes

    def set(self, name: str, parent: int) -> None:
        """Give the link its owner and time."""
        own = self.attributes
        if own.uid is not None and own.gid is not None and os.geteuid() == 0:
            os.chown(name, own.uid, own.gid, dir_fd=parent, follow_symlinks=False)
        if own.mtime_ns is not None:
            times = (own.mtime_ns, own.mtime_ns)
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


class ObjectFetch:
    """Fetches the objects of a tree into a directory; what an earlier run fetched stays."""

    def __init__(self, run: Run, tree: ObjectTree, into: tuple[int, int], *, checks: bool) -> None:
        """Take the descriptors of the directory and of one for drafts; `checks` reads back."""
        self._run = run
        self._tree = tree
        self._directory, self._drafts = into
        self._checks = checks
        self._stop = bytearray(1)
        self.counts = dict.fromkeys(("files", "links", "directories", "copied_bytes"), 0)
        self.failed = 0

    def __call__(self, chosen: Iterable[ObjectEntry]) -> None:
        """Fetch every object; faults are reported and counted.

        Raises:
            Unavailable: the object storage is away for longer than a job waits.
        """
        links: list[tuple[ObjectEntry, FetchedLink]] = []
        marked: list[tuple[VFolderPath, ObjectAttributes]] = []
        for one, found in beside(self._try, chosen):
            self._run.check()
            match found:
                case Unavailable():
                    raise found
                case OSError() | StorageError():
                    self._fail(one, found)
                    continue
                case FetchedLink():
                    links.append((one, found))
                case ObjectAttributes() if one.path is not None:
                    marked.append((one.path, found))
                    self.counts["directories"] += 1
                case _:
                    self.counts["files"] += 1
                    self.counts["copied_bytes"] += one.size
            self._run.count(Counter.COPIED, 1, one.size)
            self._run.throttle.pace(1, 0, self._stop)
        for one, link in links:  # at the end, so that no path leads through one
            self._make_link(one, link)
        for path, attributes in reversed(marked):
            with descriptors.opened("/".join(path.parts), self._directory) as made:
                _set(made, attributes, None)
        linux.sync_file_system(self._directory)

    def _fail(self, one: ObjectEntry, error: OSError | StorageError) -> None:
        self.failed += 1
        self._run.count(Counter.FAILED, 1)
        self._run.fault(one.name, reason_of(error))

    def _try(self, one: ObjectEntry) -> tuple[ObjectEntry, Any]:
        """Fetch an object; return it with what is left to do, or with the error."""
        try:
            return one, self._fetch(one)
        except (OSError, StorageError) as error:
            return one, error

    def _fetch(self, one: ObjectEntry) -> FetchedLink | ObjectAttributes | None:
        """Return a symlink, the attributes of a directory, or None for a file, which is written."""
        path = one.path
        if path is None:
            raise EntryNotFound("No file can have the name of this object.")
        directory = path if one.marker else path.parent
        with descriptors.made(PurePosixPath(*directory.parts), self._directory) as parent:
            if one.marker:
                return attributes_of(self._tree.marker_metadata(path))
            if _has_file(parent, path.name, one.size):
                return None
            with closing(self._tree.open_object(path, etag=one.etag)) as reader:
                attributes = attributes_of(reader.metadata)
                if attributes.is_link:
                    text = b"".join(iter(lambda: reader.read(BLOCK_BYTES), b""))
                    return FetchedLink(os.fsdecode(text), attributes)
                self._write(reader, attributes, (parent, path.name))
        return None

    def _write(
        self, reader: OpenObject, attributes: ObjectAttributes, place: tuple[int, str]
    ) -> None:
        draft, (parent, name) = uuid4().hex, place
        digest = hashlib.sha256()
        descriptor = os.open(draft, _NEW_FILE, 0o644, dir_fd=self._drafts)
        try:
            with open(descriptor, "wb", closefd=False, buffering=0) as file:
                while block := reader.read(BLOCK_BYTES):
                    self._run.throttle.pace(0, len(block), self._stop)
                    _write_all(file, block)
                    digest.update(block)
            if os.fstat(descriptor).st_size != reader.size:
                raise BackendFailed("The file has another length than its object.")
            if self._checks and _digest_from_disk(descriptor) != digest.digest():
                raise BackendFailed("The file has other bytes than its object.")
            _set(descriptor, attributes, reader.modified)
            os.rename(draft, name, src_dir_fd=self._drafts, dst_dir_fd=parent)
        finally:
            os.close(descriptor)

    def _make_link(self, one: ObjectEntry, link: FetchedLink) -> None:
        path = one.path or VFolderPath(())
        try:
            with descriptors.made(PurePosixPath(*path.parent.parts), self._directory) as parent:
                with suppress(FileExistsError):  # an earlier run made it
                    os.symlink(link.text, path.name, dir_fd=parent)
                link.set(path.name, parent)
            self.counts["links"] += 1
        except OSError as error:
            self._fail(one, error)


def _has_file(parent: int, name: str, size: int) -> bool:
    """Return whether an earlier run fetched a file: it gets its name when it is complete."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _write_all(file: Any, data: bytes) -> None:  # noqa: ANN401 - an unbuffered file
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _digest_from_disk(descriptor: int) -> bytes:
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return _digest_of(descriptor)


def _digest_of(descriptor: int) -> bytes:
    digest, at = hashlib.sha256(), 0
    while block := os.pread(descriptor, BLOCK_BYTES, at):
        digest.update(block)
        at += len(block)
    return digest.digest()


def _set(descriptor: int, attributes: ObjectAttributes, written: datetime | None) -> None:
    """Give a file or directory what its object says; the time of writing stands for no time."""
    if attributes.uid is not None and attributes.gid is not None and os.geteuid() == 0:
        os.fchown(descriptor, attributes.uid, attributes.gid)
    if attributes.mode is not None:
        os.fchmod(descriptor, attributes.mode & _MODE_KEPT)
    mtime = attributes.mtime_ns
    if mtime is None and written is not None:
        mtime = int(written.timestamp() * _NS)
    if mtime is not None:
        os.utime(descriptor, ns=(mtime, mtime))


@dataclass(frozen=True, slots=True)
class FetchedEndpoint:
    """The source of a transfer that is fetched first: `opens` opens the fetched directory."""

    tree: ObjectTree
    vfolder: VFolderId
    path: VFolderPath
    opens: Callable[[], AbstractContextManager[int]]

    def __str__(self) -> str:
        return str(self.vfolder) if self.path.is_root else f"{self.vfolder}/{self.path}"

    @property
    def parent(self) -> "FetchedEndpoint":
        """The directory that holds this entry."""
        return FetchedEndpoint(self.tree, self.vfolder, self.path.parent, self.opens)

    def opened(self) -> AbstractContextManager[int]:
        """Open the directory with what was fetched."""
        return self.opens()

    def status(self) -> os.stat_result | None:
        """Return the attributes of the entry, as `Endpoint.status`."""
        found = self.tree.head(self.path)
        if found is not None:
            mtime = int(found.modified.timestamp() * _NS) if found.modified else 0
            return status_from_wire(
                [stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, found.size, mtime, mtime, mtime, 0]
            )
        try:
            self.tree.is_directory(self.path)
        except EntryNotFound:
            return None
        return status_from_wire([stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])


class TransferFromObjects(Transfer):
    """One run of a transfer or clone whose source are objects and whose target are files."""

    shareable = False

    def __init__(self, context: Context, request: CloneRequest | TransferRequest) -> None:
        transfer = as_transfer(request)
        super().__init__(context, transfer)
        self._is_clone = isinstance(request, CloneRequest)
        vfolder, path = VFolderId.parse(transfer.source), VFolderPath.parse(transfer.source_path)
        self._tree = objects_of(context, transfer.volume).tree(vfolder)
        self._source: Any = FetchedEndpoint(self._tree, vfolder, path, self._fetched_directory)
        self._bulk = None

    def _fetched_directory(self) -> AbstractContextManager[int]:
        return self._context.hidden_directory(self._root, self._staging / FETCHED_TREE)

    def _began(self, manifest: Manifest) -> int | None:  # noqa: ARG002 - as the parent's
        """Return None: objects are read by their ETags, and a change of one is a fault."""
        return None

    def _choose_mode(self, manifest: Manifest) -> str:
        mode = super()._choose_mode(manifest)
        if self._is_clone and mode != NEW:
            raise VFolderExists(f"The vfolder {self._target} is already there.")
        return mode

    def _copy_and_publish(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        if manifest.last("fetched") is None:
            manifest.mark("fetched", **self._fetch_all(mode, manifest))
        self._fetched = manifest.last("fetched")
        super()._copy_and_publish(mode, publisher, manifest)

    def _copy_in_tree(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        """Publish a new directory as it was fetched; lay anything else over the target."""
        if mode != NEW:
            super()._copy_in_tree(mode, publisher, manifest)
            return
        if manifest.last("copied") is None:
            manifest.mark("copied", **(self._fetched or {}))
        with self._context.hidden_directory(self._root, self._staging) as staging:
            publisher.rename(FETCHED_TREE, staging, manifest)

    def _fetch_all(self, mode: str, manifest: Manifest) -> dict[str, Any]:
        """Fetch what the request selects, and return what was done."""
        self._forget_other_boots(manifest)
        self._run.phase("count")
        number = size_bytes = 0
        for one in self._chosen(mode):
            self._run.check()
            number, size_bytes = number + 1, size_bytes + one.size
        self._run.expect(items=number, size_bytes=size_bytes)
        self._check_free_space(size_bytes, copied=True)
        self._run.phase("copy")
        made = self._context.hidden_directory
        with (
            self._fetched_directory() as into,
            made(self._root, self._staging / _DRAFTS) as drafts,
        ):
            os.fchmod(into, 0o755)
            checks = self._request.verify == "checksum"
            fetch = ObjectFetch(self._run, self._top_tree(mode), (into, drafts), checks=checks)
            fetch(self._chosen(mode))
        complete = not fetch.failed
        nothing = dict.fromkeys(("changed", "changed_since", "not_in_copy", "hard_links"), 0)
        skipped = {str(reason): 0 for reason in COUNTED}
        return {
            **fetch.counts,
            **nothing,
            **skipped,
            "complete": complete,
            "sure": complete,
            "not_kept": {},
            "method": "objects",
        }

    def _forget_other_boots(self, manifest: Manifest) -> None:
        """Begin again after a crash of the machine: bytes of files may not be on disk."""
        with open(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
        mark = manifest.last("boot")
        if mark is None or mark["id"] != boot:
            with (
                self._context.hidden_directory(self._root, self._staging) as staging,
                suppress(FileNotFoundError),
            ):
                remove_tree(staging, FETCHED_TREE, control=self._run)
            manifest.mark("boot", id=boot)

    def _top_tree(self, mode: str) -> ObjectTree:
        path = self._source.path
        return self._tree.below(path.parent if mode == FILE else path)

    def _chosen(self, mode: str) -> Iterator[ObjectEntry]:
        """Yield what the request selects; what it excludes is no extra entry, so it comes too."""
        if mode == FILE:
            name, found = self._source.path.name, self._tree.head(self._source.path)
            if found is None:
                raise EntryNotFound(f"{self._source.path} does not exist.")
            path = VFolderPath((name,))
            yield ObjectEntry(name, path, found.size, found.etag, found.modified)
            return
        takes_all = mode != NEW and self._request.delete_extra
        chosen = ChosenObjects(None if takes_all else self._selection(NEW, None))
        yield from filter(chosen, self._top_tree(mode).entries())
