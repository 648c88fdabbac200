r"""A job's report beside the data: one line of JSON per entry that could not be done.

Lines are written as faults occur. The report keeps all of them, unlike the progress, for as long
as the record of the job. Each line is one write, so a reader sees complete lines. The next run cuts
off a line that a crash tore. A verb that does everything again in each run empties the report
first; a verb that continues from its manifest continues the report.
"""

import os
from typing import Self

from backends.fs import atomic, descriptors, layout
from core.names import QuotaScope
from core.redis import json
from core.telemetry import logger

_log = logger(__name__)

FILE_MODE = 0o600
#: Bytes per read while the last complete line is searched from the end.
_TAIL_BYTES = 64 * 1024


class Report:
    """The report of one run; the file is created with its first line.

    A volume that fails costs lines of the report, never the job: `lost` counts the missing lines.
    """

    def __init__(self, root_fd: int, scope: QuotaScope | None, job: str, attempt: int) -> None:
        self._root = root_fd
        self._path = layout.report(scope, job)
        self._attempt = attempt
        self._fd: int | None = None
        self.lost = 0

    @classmethod
    def emptied(cls, root_fd: int, scope: QuotaScope | None, job: str, attempt: int) -> Self:
        """Return a report without lines of earlier runs; a stale run writes to a removed file."""
        report = cls(root_fd, scope, job, attempt)
        if attempt > 1:
            report._remove()
        return report

    def add(self, path: str, reason: str) -> None:
        """Add a line for an entry that could not be done."""
        line = json.dumps({"path": path, "reason": reason, "attempt": self._attempt})
        try:
            if self._fd is None:
                self._fd = self._open()
            atomic.write_all(self._fd, line.encode() + b"\n")
        except OSError as error:
            if not self.lost:
                _log.warning("report not written", errno=error.errno)
            self.lost += 1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with descriptors.made(self._path.parent, self._root, descriptors.HIDDEN_MODE) as parent:
            fd = os.open(self._path.name, flags, FILE_MODE, dir_fd=parent)
            descriptors.inherit_owner(self._path.name, parent)  # the doors read it
        try:
            os.ftruncate(fd, _end_of_lines(fd))
        except OSError:
            os.close(fd)
            raise
        return fd

    def _remove(self) -> None:
        try:
            with descriptors.opened(self._path.parent, self._root) as parent:
                os.unlink(self._path.name, dir_fd=parent)
        except FileNotFoundError:
            return

    def sync(self) -> None:
        """Bring the lines and the file's name to disk: the job is about to be settled."""
        if self._fd is None:
            return
        os.fsync(self._fd)
        with descriptors.opened(self._path.parent, self._root) as parent:
            os.fsync(parent)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _end_of_lines(fd: int) -> int:
    """Return the offset at which the last complete line ends."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
