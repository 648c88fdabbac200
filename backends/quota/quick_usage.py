"""Usage of a small vfolder, counted while the caller waits; a job counts the big ones."""

import os
import stat
import time
from dataclasses import dataclass

from backends.fs import BLOCK_BYTES, held_bytes

#: A count ends without a result after so many names.
ENTRIES_MAX = 20_000
#: Or after so many seconds.
SECONDS_MAX = 2.0
#: Entries between two looks at the clock.
_STRIDE = 256


@dataclass(slots=True)
class Sums:
    """The figures of a count, comparable with those of the job `usage`.

    `entries` are all entries below the root. `size_bytes` is what files hold (`backends.fs.space`).
    `allocated_bytes` is what the file system allocated for everything, as du(1) counts. A file with
    several names counts once in each of them.
    """

    entries: int = 0
    size_bytes: int = 0
    allocated_bytes: int = 0


def count(root: int, *, skip: str = "") -> Sums | None:
    """Count the tree below a directory descriptor; None when it is too big, slow or unreadable.

    Links are counted, never followed. A directory called `skip` at the top is left out.
    """
    counter = _Count(time.monotonic() + SECONDS_MAX)
    try:
        counter.add(os.fstat(root), root)
        counter.sums.entries = 0  # the root itself is not counted
        return counter.sums if counter.walk(root, skip) else None
    except OSError:
        return None


class _Count:
    def __init__(self, deadline: float) -> None:
        self.sums = Sums()
        self._deadline = deadline
        self._seen: set[tuple[int, int]] = set()
        self._names = 0

    def walk(self, root: int, skip: str) -> bool:
        """Count the tree; return whether everything was counted."""
        pending = ["."]
        while pending:
            path = pending.pop()
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            try:
                with os.scandir(descriptor) as scan:
                    below = self._directory(scan, descriptor)
            finally:
                os.close(descriptor)
            if below is None:
                return False
            pending += [f"{path}/{name}" for name in below if path != "." or name != skip]
        return True

    def _directory(self, scan: "os._ScandirIterator[str]", descriptor: int) -> list[str] | None:
        """Count one directory; return its subdirectories, None when the budget is spent."""
        below = []
        for entry in scan:
            status = entry.stat(follow_symlinks=False)
            self.add(status, descriptor)
            if stat.S_ISDIR(status.st_mode):
                below.append(entry.name)
            self._names += 1
            if self._names % _STRIDE == 0 and self._spent():
                return None
        return below

    def add(self, status: os.stat_result, descriptor: int) -> None:
        """Count one entry of an open directory; a further name of a file does not count."""
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in self._seen:
                return
            self._seen.add((status.st_dev, status.st_ino))
        self.sums.entries += 1
        self.sums.allocated_bytes += status.st_blocks * BLOCK_BYTES
        self.sums.size_bytes += held_bytes(status, descriptor)

    def _spent(self) -> bool:
        return self._names > ENTRIES_MAX or time.monotonic() > self._deadline
