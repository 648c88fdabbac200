"""A job's file beside the data: its fence, and the marks of what it has done.

The lock on the file (flock(2)) is the fence: a run that is stopped, or a helper process that
outlived its run, still holds it, and the next run waits. Marks are JSON lines, synced before the
effect they announce; a torn last line is ignored.
"""

import errno
import fcntl
import os
import zlib
from typing import Any

import orjson

from backends import descriptors, layout
from core.control import Control
from core.names import QuotaScope

#: Only this service reads it.
FILE_MODE = 0o600
#: How often a held fence is tried again.
FENCE_PAUSE_SECONDS = 0.1


class Manifest:
    """Open, locked and readable; closed by `close` or the end of the process."""

    def __init__(self, root_fd: int, scope: QuotaScope | None, job: str) -> None:
        """Open the file, making it and its directory.

        Raises:
            OSError: the volume refuses.
        """
        self._path = layout.manifest(scope, job)
        with descriptors.made(self._path.parent, root_fd, descriptors.HIDDEN_MODE) as parent:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self._path.name, flags, FILE_MODE, dir_fd=parent)

    def fence(self, control: Control, wait: Any) -> None:  # noqa: ANN401 - a callable that sleeps
        """Take the lock; while a former run still holds it, wait and obey `control`.

        Raises:
            Interrupted: the run has to stop before it got the lock.
        """
        while True:
            control.check()
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                wait(FENCE_PAUSE_SECONDS)
            else:
                return

    def mark(self, kind: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        """Append a mark and sync it."""
        text = orjson.dumps({"kind": kind, **facts})
        # The line break stands first, so that a torn line before it stays alone.
        os.write(self.fd, b"\n%08x %s" % (zlib.crc32(text), text))
        os.fdatasync(self.fd)

    def marks(self) -> list[dict[str, Any]]:
        """Every whole mark, oldest first."""
        size = os.fstat(self.fd).st_size
        lines = os.pread(self.fd, size, 0).split(b"\n")
        return [orjson.loads(line[9:]) for line in lines if _whole(line)]

    def last(self, kind: str) -> dict[str, Any] | None:
        """The newest mark of a kind."""
        return next((m for m in reversed(self.marks()) if m["kind"] == kind), None)

    def remove(self, root_fd: int) -> None:
        """Take the file away; the lock holds until `close`."""
        try:
            with descriptors.opened(self._path.parent, root_fd) as parent:
                os.unlink(self._path.name, dir_fd=parent)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.fd)


def _whole(line: bytes) -> bool:
    head, space, text = line.partition(b" ")
    try:
        return bool(space) and int(head, 16) == zlib.crc32(text)
    except ValueError:
        return False
