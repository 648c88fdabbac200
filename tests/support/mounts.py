"""Mounts that come and go, for tests of volumes whose mount is lost (root)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loops import run
from tests.support.node import wait_for


def count(path: Path) -> int:
    """Return how many mounts lie over each other at a path, binds of one file system included."""
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return sum(line.split()[4] == str(path) for line in lines)


class Disk:
    """A file system in memory, and the path where a volume expects it."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.path = path
        #: The file system itself: it stays mounted here whatever happens at `path`.
        self.top = directory / "disk"
        self.empty = directory / "empty"
        for made in (self.path, self.top, self.empty):
            made.mkdir(exist_ok=True)
        tmpfs(self.top)
        self.mount()

    def mount(self) -> None:
        """Mount the volume at its path."""
        run("mount", "--bind", self.top, self.path)

    def umount(self, *options: str) -> None:
        """Unmount what is on top at the path."""
        run("umount", *options, self.path)

    def umount_idle(self) -> None:
        """Unmount a volume that no process holds; a proof has it open for a moment at a time."""

        def done() -> bool:
            try:
                self.umount()
            except RuntimeError as error:
                if "busy" not in str(error):
                    raise
                return False
            return True

        wait_for(done)

    def cover(self) -> None:
        """Mount an empty directory over the path."""
        run("mount", "--bind", self.empty, self.path)

    def bare(self) -> list[str]:
        """Unmount everything at the path; return what lies in the directories beneath."""
        for _ in range(count(self.path)):
            self.umount("-l")
        return [*os.listdir(self.path), *os.listdir(self.empty)]


def tmpfs(path: Path) -> None:
    """Mount another, empty file system at a path."""
    run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path)


@contextmanager
def disk(path: Path, directory: Path) -> Iterator[Disk]:
    """A file system that is mounted at a path, until the end of the block."""
    made = Disk(path, directory)
    try:
        yield made
    finally:
        for place in (made.path, made.top):
            for _ in range(count(place)):
                run("umount", "-l", place)
