"""How much a small vfolder holds, counted while somebody waits; big ones are a job's business."""

import os
import stat
import time
from dataclasses import dataclass

#: More entries than this are not counted while somebody waits.
ENTRIES_MAX = 20_000
#: Nor longer than this.
SECONDS_MAX = 2.0
#: Between two looks at the clock.
_STRIDE = 256
#: st_blocks counts in units of this many bytes (stat(2)).
_BLOCK_BYTES = 512


@dataclass(slots=True)
class Sums:
    """What was counted: as the job `usage` counts, so the figures compare.

    `entries` are all names below the root; `size_bytes` the lengths of files, `allocated_bytes`
    what the file system gave for everything (as du counts); a hard-linked file counts once in both.
    """

    entries: int = 0
    size_bytes: int = 0
    allocated_bytes: int = 0


def count(root: int, *, skip: str = "") -> Sums | None:
    """Count the tree below a directory descriptor; None when it is too big, too slow or unreadable.

    Links are counted, never followed. A directory called `skip` at the top is left out.
    """
    counter = _Count(time.monotonic() + SECONDS_MAX)
    try:
        counter.add(os.fstat(root))
        counter.sums.entries = 0  # the root is no entry of itself
        return counter.sums if counter.walk(root, skip) else None
    except OSError:
        return None


class _Count:
    def __init__(self, deadline: float) -> None:
        self.sums = Sums()
        self._deadline = deadline
        self._seen: set[tuple[int, int]] = set()

    def walk(self, root: int, skip: str) -> bool:
        """Whether everything was counted."""
        todo = ["."]
        while todo:
            path = todo.pop()
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            try:
                with os.scandir(descriptor) as scan:
                    below = self._directory(scan)
            finally:
                os.close(descriptor)
            if below is None:
                return False
            todo += [f"{path}/{name}" for name in below if path != "." or name != skip]
        return True

    def _directory(self, scan: "os._ScandirIterator[str]") -> list[str] | None:
        below = []
        for entry in scan:
            found = entry.stat(follow_symlinks=False)
            self.add(found)
            if stat.S_ISDIR(found.st_mode):
                below.append(entry.name)
            if self.sums.entries % _STRIDE == 0 and self._spent():
                return None
        return below

    def add(self, found: os.stat_result) -> None:
        """Count one entry."""
        self.sums.entries += 1
        if not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
            if (found.st_dev, found.st_ino) in self._seen:
                return
            self._seen.add((found.st_dev, found.st_ino))
        self.sums.allocated_bytes += found.st_blocks * _BLOCK_BYTES
        if stat.S_ISREG(found.st_mode):
            self.sums.size_bytes += found.st_size

    def _spent(self) -> bool:
        return self.sums.entries > ENTRIES_MAX or time.monotonic() > self._deadline
