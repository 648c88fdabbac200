"""The contents of a tree, to compare; small files that are copied as very big ones are."""

import os
import stat
from pathlib import Path

import pytest

from backends.tree.copy import copier, work

#: A longer file with less content is not read: it is made of holes, and may be as long as a disk.
SPARSE_BYTES = 1 << 30


def snapshot(root: Path) -> dict[str, object]:
    """Names, kinds, modes and contents of everything below, without following links."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                content = _text(path, status)
            found[str(path.relative_to(root))] = (oct(status.st_mode), content)
    return found


def _text(path: Path, status: os.stat_result) -> str:
    """What a file holds; of a file of holes its size, space and last change."""
    if status.st_size > SPARSE_BYTES > status.st_blocks * 512:
        return f"{status.st_size} bytes, {status.st_blocks} blocks, changed {status.st_mtime_ns}"
    return path.read_text(errors="surrogateescape")


def attributes(root: Path) -> dict[str, object]:
    """What `snapshot` returns, with owners, times of files, extended attributes and hard links."""
    found: dict[str, object] = {}
    for name, seen in snapshot(root).items():
        status = (root / name).lstat()
        xattrs = {one: os.getxattr(root / name, one) for one in _xattrs(root / name)}
        times = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        found[name] = (seen, status.st_uid, status.st_gid, times, status.st_nlink, xattrs)
    return found


def _xattrs(path: Path) -> list[str]:
    return [] if path.is_symlink() else sorted(os.listxattr(path))


def copied_in_pieces(patch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    """Let files of two pieces or more be copied in pieces of this length, never by sharing."""
    patch.setattr(copier, "BIG_BYTES", 2 * piece_bytes)
    patch.setattr(work, "piece_length", lambda _: piece_bytes)
    patch.setattr(work.content, "clones", lambda *_: False)
