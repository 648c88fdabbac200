"""What ended and unknown jobs left on a volume: staging, trash without a record, manifests, drafts.

A job that fails undoes what it did. What it could not undo (the volume or the store was away, its
process was killed) is found again by its name, which is the id of the job: the record of the job
says that it has ended, so the next sweep removes it at once. The fence tells whether a process of
the job still lives. What belongs to no record is kept for a while, because a store that lost its
last second at a restart must not cost a live run its files.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import PurePosixPath

import redis

from backends.base import MountedBackend
from backends.entries import HasObjects
from backends.fs import descriptors, layout, reason_of
from backends.quota import requested_limits, soft
from backends.retention import snapshots, trash
from backends.tree import remove_tree
from core.errors import JobNotFound, StorageError
from core.jobs import Unattended
from core.jobs.store import JobStore
from core.telemetry import logger

_log = logger(__name__)

#: What belongs to no record is removed once it is this old (seconds).
ORPHAN_GRACE_SECONDS = 3600.0
#: Where jobs leave entries that have their id.
_OF_JOBS = (layout.STAGING, layout.TRASH, layout.JOBS)
#: Where small files are replaced, whose drafts a killed process leaves.
_WITH_DRAFTS = (layout.META, layout.RETENTION, layout.LIMITS)
_OF_TREES = (trash.NOTE_SUFFIX, layout.RECORD_SUFFIX)
_FILES = (layout.REPORT_SUFFIX, ".manifest", *_OF_TREES, layout.ARCHIVE_SUFFIX)


class Leftovers:
    """The left-overs of one volume."""

    def __init__(self, store: JobStore, backend: MountedBackend) -> None:
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume
        #: Since when the oldest entry waits that this sweep could not remove (the file system's
        #: clock, seconds of the epoch).
        self.waits_since: float | None = None

    def remove(self) -> int:
        """Remove what is left over, and release promises of space; return the number of entries.

        An entry that cannot be removed is logged, and waits for the next sweep; see `waits_since`.
        """
        removed = 0
        with self._backend.root() as root:
            for scope, area in product(layout.scopes(root), _OF_JOBS):
                removed += self._of_jobs(root, scope, area)
            for scope, area in product(layout.scopes(root), _WITH_DRAFTS):
                removed += self._drafts(root, layout.scope_area(scope, area))
            limited = requested_limits.names(root)
        self._release_promises(limited)
        return removed

    def _of_jobs(self, root: int, scope: str, area: str) -> int:
        removed = 0
        with _opened(layout.scope_area(scope, area), root) as found:
            for directory, before in found:
                for name in os.listdir(directory):
                    removed += self._try(root, scope, (directory, name), before)
        return removed

    def _try(self, root: int, scope: str, entry: tuple[int, str], before: float) -> bool:
        try:
            removed = self._entry(root, scope, entry, before)
        except FileNotFoundError:
            return False
        except (OSError, StorageError) as error:  # the sweep continues with the other entries
            _log.warning("left-over not removed", job_id=entry[1], reason=reason_of(error))
            self._waits(entry)
            return False
        if removed:
            _log.info("left-over removed", volume=self._volume, job_id=entry[1])
        return removed

    def _waits(self, entry: tuple[int, str]) -> None:
        directory, name = entry
        with suppress(OSError):  # it went meanwhile, or the volume did
            since = os.stat(name, dir_fd=directory, follow_symlinks=False).st_ctime
            self.waits_since = min(since, self.waits_since or since)

    def _entry(self, root: int, scope: str, entry: tuple[int, str], before: float) -> bool:
        directory, name = entry
        job = PurePosixPath(name).stem
        known = self._has_ended(job)
        if known is False or (known and name.endswith(layout.REPORT_SUFFIX)):
            return False  # a report is kept for as long as the record
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if known is None and status.st_ctime > before:
            return False
        if _is_kept(directory, name):
            return False
        with _fence(root, scope, job) as free:
            removed = free and self._remove(directory, name)
        if free and not removed:
            self._waits(entry)
        return removed

    def _remove(self, directory: int, name: str) -> bool:
        if name.endswith(_FILES):
            os.unlink(name, dir_fd=directory)
            return True
        if self._backend.skill(HasObjects):  # a record, and objects that no other record names
            self._backend.before_purge(directory, name)
        return _remove(directory, name)

    def _has_ended(self, job: str) -> bool | None:
        """Return whether a job has ended; None when it has no record."""
        try:
            return self._store.get(job).state.ended
        except JobNotFound:
            return None

    def _drafts(self, root: int, path: PurePosixPath) -> int:
        """Remove the drafts of processes that died before their rename."""
        removed = 0
        with _opened(path, root) as found:
            for directory, before in found:
                for name in filter(_is_draft, os.listdir(directory)):
                    with suppress(OSError):
                        if os.stat(name, dir_fd=directory).st_ctime <= before:
                            os.unlink(name, dir_fd=directory)
                            removed += 1
        return removed

    def _release_promises(self, scopes: list[str]) -> None:
        """Release the space that is reserved for jobs that have ended."""
        found = soft.ledger_of(self._backend)
        if found is None:
            return
        for scope in scopes:
            try:
                for holder in found.ledger.holders(scope):
                    if self._has_ended(holder):
                        found.ledger.settle([scope], holder)
            except (redis.RedisError, StorageError) as error:
                _log.warning("promises not released", reason=type(error).__name__)
                return


@contextmanager
def _opened(path: PurePosixPath, root: int) -> Iterator[list[tuple[int, float]]]:
    """Give a hidden directory and the time before which its orphans are old; empty without it.

    The time is by the file system's own clock: the node's may be wrong.
    """
    try:
        directory = descriptors.open_directory(path, root)
    except (FileNotFoundError, NotADirectoryError):
        yield []
        return
    try:
        os.utime(directory)
        yield [(directory, os.fstat(directory).st_ctime - ORPHAN_GRACE_SECONDS)]
    finally:
        os.close(directory)


@contextmanager
def _fence(root: int, scope: str, job: str) -> Iterator[bool]:
    """Hold the fence of a job during the block; give False when a process of the job has it."""
    path = layout.scope_area(scope, layout.JOBS) / f"{job}.manifest"
    try:
        with descriptors.opened(path.parent, root) as parent:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            manifest = os.open(path.name, flags, dir_fd=parent)
    except FileNotFoundError:  # the job was settled, or had none
        yield True
        return
    try:
        fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(manifest)


def _remove(directory: int, name: str) -> bool:
    return remove_tree(directory, name, control=Unattended()).complete


def _is_kept(directory: int, name: str) -> bool:
    """Whether an entry is a tree in the trash with a record, or its record: purges remove both."""
    if name.endswith(_OF_TREES):
        return descriptors.exists(PurePosixPath(PurePosixPath(name).stem), directory)
    return trash.find(directory, name) is not None


def _is_draft(name: str) -> bool:
    return name.startswith((".", snapshots.DRAFT)) or name.endswith(requested_limits.DRAFT_SUFFIX)
