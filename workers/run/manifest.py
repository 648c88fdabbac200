"""A job's file beside the data: its fence, and the record of what it has done.

The lock on the file (flock(2)) is the fence. A stopped run still holds it, and so does a helper
process that outlives its run, because helpers inherit the descriptor. The next run waits for it.
The record is read and written behind the fence only. It holds the tree engine's checkpoints and,
between them, the marks of the verb.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from backends import tree
from backends.fs import descriptors, layout
from core.jobs import Control
from core.names import QuotaScope

#: Only this service reads the file.
FILE_MODE = 0o600
#: Seconds between two attempts to take a fence that another run holds.
FENCE_PAUSE_SECONDS = 0.1
#: The volume, or the quota scope, has no free block or inode.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MARK = "mark"


class Manifest:
    """A job's file, open and locked until `close` or the end of the process."""

    def __init__(
        self,
        root_fd: int,
        scope: QuotaScope | None,
        job: str,
        fence: Callable[[int], None],
        *,
        frees_space: bool = False,
    ) -> None:
        """Open the file and take the fence; make file and directory if they are missing.

        A job that `frees_space` may continue on a volume that has no room for the file: what it
        does comes to the same end when a second run does it again. Its record is then in memory.

        Raises:
            Interrupted: the run has to stop before it got the fence.
            OSError: the volume fails.
        """
        self._path = layout.manifest(scope, job)
        self._forgiven = NO_ROOM if frees_space else frozenset()
        #: The locks of the record belong to the process, not to its threads.
        self._appending = threading.Lock()
        #: The directory of the file, until the file's name is on disk.
        self._directory: int | None = None
        self.fd = self._open(root_fd)
        try:
            fence(self.fd)
            self.record = self._recorded()
        except BaseException:
            os.close(self.fd)
            self._close_directory()
            raise

    def _open(self, root_fd: int) -> int:
        try:
            with descriptors.made(self._path.parent, root_fd, descriptors.HIDDEN_MODE) as parent:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(self._path.name, flags, FILE_MODE, dir_fd=parent)
                self._directory = os.dup(parent)
                return fd
        except OSError as error:
            if error.errno not in self._forgiven:
                raise
        return os.memfd_create(self._path.name)

    def _close_directory(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _recorded(self) -> tree.TreeManifest:
        try:
            return tree.TreeManifest(self.fd)
        except OSError as error:
            if error.errno not in self._forgiven:
                raise
        return tree.TreeManifest.temporary()

    def mark(self, kind: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        """Record a fact and bring it to disk before returning, with the file's name."""
        self.note(kind, **facts)
        self.record.sync()
        if self._directory is not None:  # once; a journal has little to write after the record
            os.fsync(self._directory)
            self._close_directory()

    def note(self, kind: str, **facts: Any) -> None:  # noqa: ANN401 - as above
        """Record a fact that a crash of the machine may lose; for several threads."""
        with self._appending:
            self.record.append([_MARK, kind, facts])

    def last(self, kind: str) -> dict[str, Any] | None:
        """Return the newest mark of a kind; None when there is none."""
        marks = self.all(kind)
        return marks[-1] if marks else None

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the marks of a kind, oldest first."""
        return list(self.each(kind))

    def each(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the marks of a kind, oldest first, also those that come meanwhile; in no memory."""
        marks = (record for _, record in self.record.records() if record[0] == _MARK)
        yield from (dict(facts) for _, name, facts in marks if name == kind)

    def clear(self) -> None:
        """Drop every record. Call it behind the fence only, while no process copies."""
        os.ftruncate(self.fd, 0)
        os.fsync(self.fd)

    def remove(self, root_fd: int) -> None:
        """Remove the file; the fence holds until `close`."""
        try:
            with descriptors.opened(self._path.parent, root_fd) as parent:
                os.unlink(self._path.name, dir_fd=parent)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Release the fence."""
        self.record.close()
        if self.record.fd != self.fd:
            os.close(self.fd)
        self._close_directory()


def flock(descriptor: int, control: Control, wait: Callable[[float], Any]) -> None:
    """Take the lock; while an earlier run holds it, wait and check `control`.

    Raises:
        Interrupted: the run has to stop first.
    """
    while True:
        control.check()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            wait(FENCE_PAUSE_SECONDS)
        else:
            return
