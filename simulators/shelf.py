"""Where an array keeps the directories it makes: a plain directory, or btrfs that holds limits.

On btrfs a limited directory is a subvolume: writers past its limit are stopped by a real kernel,
and nothing is renamed across its border, as with qtrees and quota directories.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

#: btrfs needs that much for a directory of its own; a smaller limit is held loosely here.
LEAST_BYTES = 64 << 10
FIRST_SUBVOLUME_INODE = 256


class Shelf:
    """A plain directory: usage is counted by a walk, and no limit is enforced."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def exists(self, path: str) -> bool:
        return (self.top / path).is_dir()

    def make(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Make a directory."""
        where = self.top / path
        self._place(where)
        where.chmod(mode)
        os.chown(where, uid, gid)

    def limit(self, path: str, limit: int | None) -> None:
        """Hold a directory to a limit, as far as the file system can."""

    def used(self, path: str) -> int:
        """Bytes below a directory, in blocks of 4 KiB."""
        total = 0
        for here, _, files in os.walk(self.top / path):
            total += sum(-(-os.lstat(f"{here}/{f}").st_size // 4096) * 4096 for f in files)
        return total

    def keep(self, path: str, room: str, name: str) -> None:
        """Keep what a directory holds now, as `room/name` in it."""
        source, kept = self.top / path, self.top / path / room / name
        before = source.stat()
        kept.parent.mkdir(exist_ok=True)
        self._place(kept)
        for entry in source.iterdir():
            if entry.name != room:
                _run("cp", "-a", "--reflink=auto", entry, kept)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.chown(kept, before.st_uid, before.st_gid)
        shutil.copystat(source, kept)
        self._seal(kept)

    def forget(self, room: str, name: str) -> None:
        """Remove what was kept by this name, wherever its directory was moved to."""
        for here, names, _ in os.walk(self.top):
            if os.path.basename(here) == room:
                if name in names:
                    self._discard(Path(here, name))
                    with suppress(OSError):
                        os.rmdir(here)
                names.clear()

    def discard(self, path: str) -> None:
        """Remove a directory that `make` made, with what it holds."""
        self._discard(self.top / path)

    def _place(self, where: Path) -> None:
        where.mkdir()

    def _seal(self, where: Path) -> None:
        """Let no one write to it, as far as the file system can."""

    def _discard(self, where: Path) -> None:
        shutil.rmtree(where)


class BtrfsShelf(Shelf):
    """Directories as subvolumes, limits by qgroups, by the tools of btrfs-progs."""

    def __init__(self, top: Path, *, enable: bool = True) -> None:
        super().__init__(top)
        if enable:
            _run("btrfs", "quota", "enable", top)

    def limit(self, path: str, limit: int | None) -> None:
        if (group := self._group(path)) is None:
            return
        wanted = "none" if limit is None else str(min(max(limit, LEAST_BYTES), 2**63))
        _run("btrfs", "qgroup", "limit", wanted, group, self.top)

    def used(self, path: str) -> int:
        if (group := self._group(path)) is None:
            return super().used(path)
        shown = _run("btrfs", "qgroup", "show", "--raw", "-f", self.top / path)
        for line in shown.splitlines():
            if line.startswith(group):
                return int(line.split()[1])
        return 0

    def convert(self, path: str) -> None:
        """Put a subvolume where an empty directory is; others stay as they are."""
        where = self.top / path
        if self._group(path) is not None or any(where.iterdir()):
            return
        found = where.stat()
        where.rmdir()
        self.make(path, found.st_mode & 0o7777, found.st_uid, found.st_gid)

    def _place(self, where: Path) -> None:
        _run("btrfs", "subvolume", "create", where)

    def _seal(self, where: Path) -> None:
        _run("btrfs", "property", "set", where, "ro", "true")

    def _discard(self, where: Path) -> None:
        _run("btrfs", "subvolume", "delete", where)

    def _group(self, path: str) -> str | None:
        where = self.top / path
        if not where.is_dir() or where.stat().st_ino != FIRST_SUBVOLUME_INODE:
            return None
        return f"0/{_run('btrfs', 'inspect-internal', 'rootid', where).strip()}"


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
