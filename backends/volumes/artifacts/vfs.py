"""A VFS storage of artifacts: a directory of this node, and every path resolved beneath it.

The base directory is never removed. Our own files are in its hidden directory, which no caller
sees: uploads that are not complete, trees that are being removed, and the lock of the storage.
"""

import errno
import fcntl
import mimetypes
import os
import stat
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any
from uuid import uuid4

from backends.fs import atomic, descriptors, layout, paths, translate, translated
from core.errors import (
    EntryNotFound,
    EntryRefused,
    InvalidName,
    PathEscape,
    StorageError,
    StoragePathRefused,
    StoredPathNotFound,
    VolumeUnavailable,
)
from core.names import VFolderPath
from core.settings import VfsStorageTable
from core.telemetry import logger

OCTET_STREAM = "application/octet-stream"
#: Modes of what callers create; doors and workers set their umask.
DIRECTORY_MODE = 0o755
FILE_MODE = 0o644
#: Bytes of one write of an upload.
WRITE_BYTES = 1 << 20
#: The file whose lock every process of this storage shares.
_LOCK = "lock"
#: Remains of jobs are removed after this time (seconds): jobs do not last longer.
JOB_SECONDS = 30 * 86_400
#: What jobs continue from after a restart, and their reports.
_JOBS = {layout.STAGING, layout.JOBS}
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logger(__name__)


class FileTooLarge(StorageError):
    """A file is larger than `max-file-size` of the storage allows."""

    error_code = "storage-proxy_access_invalid-parameters"
    kind = "storage/file-too-large"
    title = "The file is too large"
    status = 413


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An open file or directory of a storage; the caller closes the descriptor."""

    descriptor: int
    name: str
    status: os.stat_result
    #: The entry of a directory that is not sent: our own files in that of the storage itself.
    without: str = ""

    @property
    def is_directory(self) -> bool:
        """Return whether it is a directory, which is sent as a tar."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def content_type(self) -> str:
        """Return the media type that the end of the name stands for."""
        return _content_type(self.name, self.status)


class VfsStorage:
    """One storage. Every method raises `translate`d errors of the file system, too."""

    def __init__(self, name: str, table: VfsStorageTable, directory: Path) -> None:
        """Take the table; a relative base path starts at `directory`. Touches no storage."""
        self.name = name
        base = directory / table.base_path
        self.path = base / table.subpath.strip("/") if table.subpath else base
        self.max_file_bytes = table.max_file_bytes
        self._temporary = table.temporary

    # -- The start of a process --------------------------------------------------------------------
    def begin(self, owner: tuple[int, int] | None = None) -> int:
        """Make the directory, and return the lock that the process holds until its end.

        The content of a temporary storage is removed by the first process: the one that no other
        process shares the lock with. A new directory gets the `owner`.
        """
        with translated(self.name):
            if not self.path.is_dir():
                self.path.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
                if owner is not None and os.geteuid() == 0:
                    os.chown(self.path, *owner)
            with self.root() as root, self.hidden(root, ".") as hidden:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(_LOCK, flags, FILE_MODE, dir_fd=hidden)
                descriptors.inherit_owner(_LOCK, hidden)
                if _is_first(lock):
                    self._clean(root, hidden)
                fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    def _clean(self, root: int, hidden: int) -> None:
        """Remove what killed processes left, and the content of a temporary storage."""
        _remove_content(hidden, kept={_LOCK} if self._temporary else {_LOCK, *_JOBS})
        for area in _JOBS:
            with self.hidden(root, area) as jobs:
                _remove_content(jobs, kept=_younger(jobs, JOB_SECONDS))
        if self._temporary:
            _log.info("temporary storage emptied", storage=self.name)
            _remove_content(root, kept={layout.HIDDEN})

    # -- Paths -------------------------------------------------------------------------------------
    @contextmanager
    def root(self) -> Iterator[int]:
        """Open the base directory."""
        try:
            descriptor = descriptors.open_directory(str(self.path))
        except (FileNotFoundError, NotADirectoryError):
            detail = f"The directory of the artifact storage {self.name} is not there."
            raise VolumeUnavailable(detail) from None
        except OSError as error:
            raise translate(error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def hidden(self, root: int, area: str) -> Iterator[int]:
        """Open one of the hidden directories; make it where it is missing."""
        path = PurePosixPath(layout.HIDDEN) / area
        with descriptors.made(path, root, descriptors.HIDDEN_MODE) as descriptor:
            yield descriptor

    @staticmethod
    def parse(text: str) -> VFolderPath:
        """Return the path that a caller names; `/` and `.` are the base directory.

        Raises:
            StoragePathRefused: it is empty, has `..` or NUL, is too long, or names our own files.
        """
        if not text or ".." in text.split("/"):
            raise StoragePathRefused("A path is not empty, and has no part '..'.")
        try:
            path = VFolderPath.parse(text.lstrip("/"))
        except (InvalidName, PathEscape) as error:
            raise StoragePathRefused(error.detail) from None
        if path.parts[:1] == (layout.HIDDEN,):
            raise StoragePathRefused(f"{layout.HIDDEN} has the files of this service.")
        return path

    # -- Reading -----------------------------------------------------------------------------------
    def describe(self, filepath: str) -> dict[str, Any]:
        """Return the facts of a file or a directory."""
        path = self.parse(filepath)
        with self.root() as root, _object_errors():
            found = paths.stat_beneath(root, path)
        return {
            "filepath": filepath,
            "content_length": found.st_size,
            "content_type": _content_type(path.name, found),
            "last_modified": found.st_mtime,
            "created": found.st_ctime,
            "is_directory": stat.S_ISDIR(found.st_mode),
            "metadata": {
                "mode": oct(found.st_mode),
                "uid": str(found.st_uid),
                "gid": str(found.st_gid),
            },
        }

    def open(self, filepath: str) -> StoredFile:
        """Open a regular file or a directory for reading.

        Raises:
            StoredPathNotFound: there is none.
            StoragePathRefused: it is something else, such as a fifo.
        """
        path = self.parse(filepath)
        with self.root() as root, _object_errors():
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = paths.open_beneath(root, path, flags)
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            os.close(descriptor)
            raise StoragePathRefused("Only files and directories are sent.")
        without = layout.HIDDEN if path.is_root else ""
        return StoredFile(descriptor, path.name or self.name, status, without)

    def list_files(self, directory: str) -> list[dict[str, Any]]:
        """Return every file and directory below a directory, a directory before its content.

        Links and special files are left out: their type has no word, and no link is followed.

        Raises:
            StoredPathNotFound: the directory does not exist.
            StoragePathRefused: it is no directory.
        """
        path = self.parse(directory)
        with self.root() as root, _object_errors():
            top = paths.open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
        prefix = "" if not path.parts and not directory.startswith("/") else directory.rstrip("/")
        begin = f"{prefix}/" if prefix or directory.startswith("/") else ""
        try:
            with translated(directory):
                return [
                    _facts(below, found, begin)
                    for below, found in _walk(top)
                    if below.split("/", 1)[0] != layout.HIDDEN or path.parts
                ]
        finally:
            os.close(top)

    def open_report(self, job: str) -> int | None:
        """Open the report of a job and return the descriptor; None when there is none."""
        path = layout.report(None, job)
        try:
            with self.root() as root, descriptors.opened(path.parent, root) as parent:
                return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            return None

    # -- Changes -----------------------------------------------------------------------------------
    def remove(self, filepath: str) -> None:
        """Remove a file, a link, or a directory with all below; what is absent is a success.

        A directory disappears by one rename. A thread removes its entries afterwards; what a killed
        process leaves is removed by the next start.

        Raises:
            StoragePathRefused: the path is the base directory.
        """
        path = self.parse(filepath)
        if path.is_root:
            raise StoragePathRefused("The directory of the storage itself is not removed.")
        trashed = str(uuid4())
        with self.root() as root, self.hidden(root, layout.TRASH) as trash:
            try:
                with _object_errors(), paths.parent_beneath(root, path) as (parent, name):
                    os.rename(name, trashed, src_dir_fd=parent, dst_dir_fd=trash)
                    descriptor = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            except StoredPathNotFound:
                return
            own = os.dup(trash)
        Thread(target=_empty, args=(own, trashed), daemon=True).start()

    def begin_upload(self) -> "StorageUpload":
        """Return the beginning of a new file."""
        return StorageUpload(self)


class StorageUpload:
    """A file that is received: in the hidden directory until `publish` renames it."""

    def __init__(self, storage: VfsStorage) -> None:
        self._storage = storage
        self._name = str(uuid4())
        self.size = 0
        with storage.root() as root, storage.hidden(root, layout.UPLOADS) as uploads:
            self._directory = os.dup(uploads)
        with translated(storage.name):
            self._descriptor = os.open(self._name, _CREATE, FILE_MODE, dir_fd=self._directory)
        self._open = True

    def close(self) -> None:
        """Close it; remove what was not published."""
        if self._open:
            self._open = False
            os.close(self._descriptor)
            try:
                os.unlink(self._name, dir_fd=self._directory)
            except FileNotFoundError:  # published
                pass
            finally:
                os.close(self._directory)

    def write(self, data: bytes) -> int:
        """Write the next bytes; return how many they are.

        Raises:
            FileTooLarge: with them the file is larger than the storage allows.
        """
        limit = self._storage.max_file_bytes
        if limit is not None and self.size + len(data) > limit:
            raise FileTooLarge(f"A file of this storage has at most {limit} bytes.")
        with translated(self._storage.name):
            atomic.write_all(self._descriptor, data)
        self.size += len(data)
        return len(data)

    def seek(self, offset: int) -> int:
        """Move, as a parser of forms does at the end of the file."""
        return os.lseek(self._descriptor, offset, os.SEEK_SET)

    def publish(self, filepath: str) -> None:
        """Give the file its name, complete and on disk; a file of that name is replaced.

        Raises:
            StoragePathRefused: the path is the base directory, or leads outside.
        """
        path = self._storage.parse(filepath)
        if path.is_root:
            raise StoragePathRefused("The path names no file.")
        with self._storage.root() as root, _object_errors(), translated(filepath):
            descriptors.inherit_owner(self._name, self._directory)
            os.fsync(self._descriptor)
            os.close(paths.make_directories(root, path.parent, DIRECTORY_MODE, synced=True))
            with paths.parent_beneath(root, path) as (parent, name):
                os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=parent)
            paths.sync_directory(root, path.parent)


def _is_first(lock: int) -> bool:
    """Return whether no other process shares the lock; this one then holds it alone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _younger(directory: int, seconds: float) -> set[str]:
    """Return the entries of a directory that were changed within this time."""
    since = time.time() - seconds
    with descriptors.opened(".", directory) as readable, os.scandir(readable) as entries:
        return {one.name for one in entries if one.stat(follow_symlinks=False).st_mtime > since}


def _remove_content(directory: int, kept: AbstractSet[str]) -> None:
    with descriptors.opened(".", directory) as readable:
        names = set(os.listdir(readable))
    for name in names - kept:
        _remove_all(directory, name)


def _empty(trash: int, name: str) -> None:
    try:
        _remove_all(trash, name)
    finally:
        os.close(trash)


def _remove_all(directory: int, name: str) -> None:
    """Remove an entry of the trash, in this thread: a door must not fork.

    A directory in a directory is renamed into the trash first. So a tree of any depth takes two
    descriptors, and no path is longer than the kernel allows.
    """
    todo = [name]
    try:
        while todo:
            top = todo[-1]
            if not _is_directory(top, directory):
                os.unlink(top, dir_fd=directory)
            elif moved := _emptied(directory, top):
                todo += moved
                continue
            else:
                os.rmdir(top, dir_fd=directory)
            todo.pop()
    except (OSError, StorageError) as error:  # a later start removes it
        _log.warning("tree left in the trash", reason=type(error).__name__)


def _is_directory(name: str, directory: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _emptied(trash: int, name: str) -> list[str]:
    """Remove the files of a directory, move its directories into the trash; return their names."""
    moved = []
    with descriptors.opened(name, trash) as current:
        with os.scandir(current) as entries:
            listed = list(entries)
        for entry in listed:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=current)
                continue
            moved.append(str(uuid4()))
            os.rename(entry.name, moved[-1], src_dir_fd=current, dst_dir_fd=trash)
    return moved


@contextmanager
def _object_errors() -> Iterator[None]:
    """Raise what the routes of storages answer for a wrong path.

    Raises:
        StoredPathNotFound: the entry does not exist.
        StoragePathRefused: the path leads outside, or is not what the call needs.
    """
    try:
        yield
    except EntryNotFound as error:
        raise StoredPathNotFound("The storage has nothing at this path.") from error
    except (PathEscape, InvalidName) as error:
        raise StoragePathRefused("The path leads outside of the storage.") from error
    except EntryRefused as error:
        number = error.facts.get("errno")
        if number == errno.ENOTDIR:
            raise StoragePathRefused("A part of the path is no directory.", errno=number) from error
        raise StoragePathRefused(error.detail, errno=number) from error


def _walk(top: int) -> Iterator[tuple[str, os.stat_result]]:
    """Return what is below a directory, each directory before its content; follow no link."""
    todo = [_entries(top, "")]
    while todo:
        entry = next(todo[-1], None)
        if entry is None:
            todo.pop()
            continue
        yield entry
        if stat.S_ISDIR(entry[1].st_mode):
            todo.append(_entries(top, entry[0]))


def _entries(top: int, path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Return the files and directories in a directory; none when it is gone."""
    begin = f"{path}/" if path else ""
    found = []
    try:
        with descriptors.opened(path or ".", top) as directory, os.scandir(directory) as entries:
            for entry in entries:
                if not (
                    entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
                ):
                    continue
                with suppress(FileNotFoundError):  # removed meanwhile
                    found.append((f"{begin}{entry.name}", entry.stat(follow_symlinks=False)))
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
    return iter(found)


def _facts(path: str, found: os.stat_result, begin: str) -> dict[str, Any]:
    is_directory = stat.S_ISDIR(found.st_mode)
    return {
        "name": path.rpartition("/")[2],
        "type": "directory" if is_directory else "file",
        "size": None if is_directory else found.st_size,
        "modified": found.st_mtime,
        "created": found.st_ctime,
        "path": f"{begin}{path}",
    }


def _content_type(name: str, found: os.stat_result) -> str:
    if stat.S_ISDIR(found.st_mode):
        return OCTET_STREAM
    return mimetypes.guess_type(name)[0] or OCTET_STREAM
