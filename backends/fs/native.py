"""The part in C where it was built, and whether it was.

Without it these modules do the same in Python, slower: `backends.fs.linux` (openat2),
`backends.fs.paths` (open_file), `backends.fs.directory` (names, stats, details),
`backends.archives.reading` (read), `backends.archives.zips` (zip_files, zip_records),
`backends.mounted.posix` (open_marked) and `backends.tree.plain` (scan, copy, unlink).
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from core.telemetry import logger

try:
    from backends.fs._native import (
        copy,
        details,
        names,
        open_file,
        open_marked,
        openat2,
        read,
        scan,
        stats,
        unlink,
        zip_files,
        zip_records,
    )
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

__all__ = [
    "AVAILABLE",
    "MISSING",
    "Copied",
    "Detail",
    "Details",
    "MakeFile",
    "NameStatus",
    "PlannedEntry",
    "ReadFile",
    "Scanned",
    "Unlinked",
    "copy",
    "details",
    "names",
    "open_file",
    "open_marked",
    "openat2",
    "read",
    "report",
    "scan",
    "stats",
    "unlink",
    "zip_files",
    "zip_records",
]

#: What a missing part costs, and what to do; for the log and for /health.
MISSING = (
    "The part in C is missing. Jobs and listings over many small files take more processor time;"
    " a listing of 1,000 entries takes 1.7 times as much. Install a C compiler and the Python"
    " headers, then install vfolder again."
)

#: Mode, size in bytes, and the times of change and modification in seconds of the epoch.
NameStatus = tuple[int, int, float, float]
#: Name, mode, size in bytes, time of modification in nanoseconds of the epoch, inode number, number
#: of names, device.
Detail = tuple[bytes, int, int, int, int, int, int]
#: Some entries of a directory, and the names that could not be looked at with their errno.
Found = TypeVar("Found")
Details = tuple[list[Found], list[tuple[bytes, int]]]
#: Makes something of a file of one name: name, mode, size in bytes, time of modification in
#: nanoseconds of the epoch, inode number; then no target, and that it is a file.
MakeFile = Callable[[bytes, int, int, int, int, bytes, bool], Found]
#: Content, size in bytes, time of modification in nanoseconds of the epoch, inode number. A file
#: that became too short has the bytes that were read, and their number as its size.
ReadFile = tuple[bytes, int, int, int]
#: Sums over some entries of a directory: bytes held (`backends.fs.space`), blocks, files, links,
#: others, directories, inodes of several names (device, number, bytes held, blocks, time of
#: modification, length), failed (name, errno), histogram of lengths, names, histogram of ages
#: (files and bytes held).
Scanned = tuple[
    int,
    int,
    int,
    int,
    int,
    list[str],
    list[tuple[int, int, int, int, int, int]],
    list[tuple[str, int]],
    dict[int, int],
    list[str] | None,
    dict[int, tuple[int, int]],
]
#: Files, bytes, and the entries that need the full rules, with their file type (0: unknown).
Copied = tuple[int, int, list[tuple[str, int]]]
#: Entries unlinked, directories dropped, directories left (name, inode), names that resist.
Unlinked = tuple[int, int, list[tuple[str, int]], list[str]]


class PlannedEntry(Protocol):
    """What C reads of an entry of an archive's plan (`backends.archives.plan.ArchiveEntry`)."""

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    inode: int
    target: bytes
    is_file: bool
    is_directory: bool


_log = logger(__name__)


def report() -> None:
    """Log a warning when the part in C is missing; each process calls this when it starts."""
    if not AVAILABLE:
        _log.warning("native code missing", effect=MISSING)
