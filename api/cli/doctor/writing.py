"""The checks that work in a quota scope of their own (`own_scope`), whose vfolder exists."""

import errno
import fcntl
import os
import statistics
import time
from contextlib import AbstractContextManager, suppress

from api.cli.doctor import objects, own_scope, speed
from api.cli.doctor.own_scope import SCOPE, VFOLDER
from api.cli.doctor.reading import Examined, Found, milliseconds
from api.cli.doctor.results import Figures, NotAvailable, Wrong
from backends.base import (
    HasFastUsage,
    HasFileClone,
    HasInodeLimits,
    HasQuota,
    HasSnapshots,
    HasSoftLimits,
    HasTreeClone,
)
from backends.fs import atomic, descriptors, linux
from core.errors import StorageError
from core.names import size_text

_MIB = 1 << 20
#: The limit of the trial. Where usage is reported late, a writer passes it for a moment: so much
#: is written past it, and for so long, before it counts as not enforced; never more than the last.
_LIMIT_BYTES, _PAST_BYTES, _PAST_SECONDS = 16 * _MIB, 64 * _MIB, 3.0
_MOST_BYTES = 512 * _MIB
#: The data reaches the storage system in steps of this size.
_SYNC_BYTES = 4 * _MIB
_FULL = frozenset({errno.EDQUOT, errno.ENOSPC})
_BIG = "big"
_SNAPSHOT = "vfolder-doctor"
_SOURCE = "source"
_NOTE = b"This vfolder belongs to `vfolder doctor`.\n"
_INODES = 1000
_DESCRIPTIONS = 5
_NEW = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_RIGHTS = (
    "Give the user of [volume.{}.options], and the user that runs the workers, the rights that "
    "docs/backends.md lists for this backend."
)


def rights(examined: Examined) -> Found:
    """Make the quota scope and its vfolder; write a file."""
    backend = examined.mounted
    began = time.perf_counter()
    backend.create_scope(SCOPE)
    scope_made = time.perf_counter()
    backend.create_vfolder(VFOLDER)
    vfolder_made = time.perf_counter()
    if objects.are_kept(examined):
        objects.write(examined, "vfolder-doctor.txt", _NOTE)
    else:
        with _vfolder(examined) as top:
            _write(top, "vfolder-doctor.txt", _NOTE)
    figures: Figures = {
        "create_scope_milliseconds": milliseconds(scope_made - began),
        "create_vfolder_milliseconds": milliseconds(vfolder_made - scope_made),
    }
    return f"Made quota scope {SCOPE} in {figures['create_scope_milliseconds']} ms.", figures


def quota(examined: Examined) -> Found:
    """Set a limit, write past it, and take it away again."""
    limits = examined.backend.skill(HasQuota)
    if limits is None:
        raise NotAvailable(
            "The storage system has no limits for directories; this service enforces them itself."
        )
    began = time.perf_counter()
    examined.backend.set_limit(SCOPE, _LIMIT_BYTES)
    figures: Figures = {"set_limit_milliseconds": milliseconds(time.perf_counter() - began)}
    figures |= _described(examined, limits.effective_limit(_LIMIT_BYTES))
    with _vfolder(examined) as top:
        written = _fill(top)
        os.unlink("fill", dir_fd=top)
    examined.backend.unset_limit(SCOPE)
    if (left := examined.backend.describe_scope(SCOPE).limit_bytes) is not None:
        raise Wrong(
            f"The limit was removed, and the storage system still has one of {size_text(left)}.",
            "Look at this quota at the storage system; another rule may hold there.",
        )
    figures["past_limit_bytes"] = max(0, written - _LIMIT_BYTES)
    return (
        f"The writer was stopped {size_text(max(0, written - _LIMIT_BYTES))} past a limit of "
        f"{size_text(_LIMIT_BYTES)}; setting it took {figures['set_limit_milliseconds']} ms."
    ), figures


def _described(examined: Examined, effective: int) -> Figures:
    times = []
    for _ in range(_DESCRIPTIONS):
        began = time.perf_counter()
        found = examined.backend.describe_scope(SCOPE)
        times.append(time.perf_counter() - began)
    if found.limit_bytes != effective:
        raise Wrong(
            f"A limit of {effective} bytes was set, and {found.limit_bytes} bytes are reported.",
            "Look at this quota at the storage system; another rule may hold there.",
        )
    median = milliseconds(statistics.median(times))
    return {"describe_milliseconds": median, "enforced": found.enforced or "unknown"}


def _fill(top: int) -> int:
    """Write until the storage stops it; return how much fitted.

    Raises:
        Wrong: nothing stopped it.
    """
    block = os.urandom(_MIB)
    file = os.open("fill", _NEW, 0o600, dir_fd=top)
    written, began = 0, time.monotonic()
    try:
        while not _is_past(written, time.monotonic() - began):
            written += os.write(file, block)
            if written % _SYNC_BYTES == 0:
                os.fsync(file)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return written
    finally:
        with suppress(OSError):  # what did not fit may be reported once more
            os.close(file)
    user = "root" if os.geteuid() == 0 else "this user"
    raise Wrong(
        f"Nothing stopped a writer ({user}) {size_text(written - _LIMIT_BYTES)} past its limit.",
        "Let the storage system enforce limits of directories, for root too if the workers run as "
        "root; docs/backends.md says how for this backend.",
    )


def _is_past(written: int, seconds: float) -> bool:
    late = written >= _LIMIT_BYTES + _PAST_BYTES and seconds >= _PAST_SECONDS
    return late or written >= _MOST_BYTES


def usage(examined: Examined) -> Found:
    """Compare the storage system's own count of the vfolder with what was made."""
    counter = examined.backend.skill(HasFastUsage)
    if counter is None or "fast-size" in examined.lacking:
        raise NotAvailable("The storage system does not count a vfolder; a walk does.")
    began = time.perf_counter()
    found = counter.fast_usage(VFOLDER)
    figures: Figures = {
        "milliseconds": milliseconds(time.perf_counter() - began),
    }
    if found.file_count is not None:
        figures["entries"] = found.file_count
    if found.used_bytes is not None:
        figures["used_bytes"] = found.used_bytes
    if not found.complete:
        raise NotAvailable("The storage system has not counted the new vfolder yet.")
    return f"The storage system counted the vfolder in {figures['milliseconds']} ms.", figures


def snapshot(examined: Examined) -> Found:
    """Make a snapshot, change the vfolder, read the snapshot, and delete it."""
    snapshots = examined.backend.skill(HasSnapshots)
    if snapshots is None:
        raise NotAvailable("This backend makes no snapshots.")
    with _vfolder(examined) as top:
        _write(top, "kept.txt", b"before")
    began = time.perf_counter()
    try:
        snapshots.create_snapshot(VFOLDER, _SNAPSHOT)
    except StorageError as error:
        if "snapshot" in examined.lacking:
            raise NotAvailable(error.detail) from error
        raise
    made = time.perf_counter()
    with _vfolder(examined) as top:
        _write(top, "kept.txt", b"after")
    if _SNAPSHOT not in [one.name for one in snapshots.list_snapshots(VFOLDER)]:
        raise Wrong("The new snapshot is not listed.", _RIGHTS.format(examined.name))
    with snapshots.open_snapshot(VFOLDER, _SNAPSHOT) as kept:
        content = _read(kept, "kept.txt")
    if content != b"before":
        raise Wrong(
            f"The snapshot holds {content!r} in place of what was there before it.",
            "Do not use snapshots of this volume; report this with the backend's name.",
        )
    removing = time.perf_counter()
    snapshots.delete_snapshot(VFOLDER, _SNAPSHOT)
    figures: Figures = {
        "create_milliseconds": milliseconds(made - began),
        "delete_milliseconds": milliseconds(time.perf_counter() - removing),
    }
    return f"Made in {figures['create_milliseconds']} ms, read, and deleted.", figures


def further_limits(examined: Examined) -> Found:
    """Set a limit of inodes and a soft limit of bytes, where the storage system has them."""
    figures: Figures = {}
    backend, lacking = examined.backend, examined.lacking
    inodes, soft = backend.skill(HasInodeLimits), backend.skill(HasSoftLimits)
    if inodes is not None and "inode-limit" not in lacking:
        began = time.perf_counter()
        inodes.set_inode_limit(SCOPE, _INODES)
        figures["inode_limit_milliseconds"] = milliseconds(time.perf_counter() - began)
        _check_equal(backend.describe_scope(SCOPE).limit_inodes, _INODES, "inodes")
        inodes.set_inode_limit(SCOPE, None)
    if soft is not None and "soft-limit" not in lacking:
        backend.set_limit(SCOPE, _LIMIT_BYTES)
        began = time.perf_counter()
        soft.set_soft_limit(SCOPE, _LIMIT_BYTES // 2)
        figures["soft_limit_milliseconds"] = milliseconds(time.perf_counter() - began)
        _check_equal(backend.describe_scope(SCOPE).soft_limit_bytes, _LIMIT_BYTES // 2, "bytes")
        soft.set_soft_limit(SCOPE, None)
        backend.unset_limit(SCOPE)
    if not figures:
        raise NotAvailable("The volume has no limits of inodes and no soft limits.")
    kinds = [word for word in ("inode", "soft") if f"{word}_limit_milliseconds" in figures]
    return f"Limits were set, read back and removed: {', '.join(kinds)}.", figures


def _check_equal(found: int | None, wanted: int, unit: str) -> None:
    if found != wanted:
        raise Wrong(
            f"A limit of {wanted} {unit} was set, and {found} are reported.",
            "Look at this quota at the storage system; another rule may hold there.",
        )


def clone(examined: Examined) -> Found:
    """Clone a tree and a file by the storage system, and let files share blocks."""
    content = os.urandom(_MIB)
    with _vfolder(examined) as top:
        os.mkdir("tree", 0o700, dir_fd=top)
        with descriptors.opened("tree", top) as tree:
            _write(tree, _SOURCE, content)
    by_array = _cloned_by_array(examined, content)
    shared = _shared(examined, content) if examined.mounted.reflinks() else {}
    figures = by_array | shared
    if not figures:
        raise NotAvailable("Nothing can be cloned here: a clone copies all bytes.")
    words = {
        "tree_milliseconds": "trees by the storage system",
        "file_milliseconds": "files by the storage system",
        "reflink_milliseconds": "files by shared blocks",
    }
    kinds = [f"{words[name]} ({figures[name]} ms)" for name in words if name in figures]
    return f"Clones {' and '.join(kinds)}.", figures


def _cloned_by_array(examined: Examined, content: bytes) -> Figures:
    figures: Figures = {}
    below, lacking = VFOLDER.directory, examined.lacking
    trees, files = examined.backend.skill(HasTreeClone), examined.backend.skill(HasFileClone)
    if trees is not None and "instant-clone" not in lacking:
        began = time.perf_counter()
        trees.clone_tree(below / "tree", below / "cloned")
        figures["tree_milliseconds"] = milliseconds(time.perf_counter() - began)
        _check_clone(examined, f"cloned/{_SOURCE}", content)
    if files is not None and "file-clone" not in lacking:
        began = time.perf_counter()
        files.clone_file(below / "tree" / _SOURCE, below / "cloned-file")
        figures["file_milliseconds"] = milliseconds(time.perf_counter() - began)
        _check_clone(examined, "cloned-file", content)
    return figures


def _shared(examined: Examined, content: bytes) -> Figures:
    with _vfolder(examined) as top:
        source = os.open(f"tree/{_SOURCE}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=top)
        target = os.open("shared", _NEW, 0o600, dir_fd=top)
        try:
            began = time.perf_counter()
            linux.clone_file(source, target)
            seconds = time.perf_counter() - began
        finally:
            os.close(source)
            os.close(target)
    _check_clone(examined, "shared", content)
    return {"reflink_milliseconds": milliseconds(seconds)}


def _check_clone(examined: Examined, name: str, content: bytes) -> None:
    with _vfolder(examined) as top:
        equal = _read(top, name) == content
    if not equal:
        raise Wrong(
            "A clone differs from its source.", "Do not use this volume; report the backend."
        )


def locks(examined: Examined) -> Found:
    """Hold a lock, and see that a second owner does not get it."""
    with _vfolder(examined) as top:
        first = os.open("lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=top)
        second = os.open("lock", os.O_RDWR | os.O_CLOEXEC, dir_fd=top)
        try:
            began = time.perf_counter()
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seconds = time.perf_counter() - began
            with suppress(BlockingIOError):
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                raise Wrong("Two owners hold one lock.", own_scope.NO_LOCKS)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Wrong(f"The mount has no locks: {error.strerror}.", own_scope.NO_LOCKS) from error
        finally:
            os.close(first)
            os.close(second)
    return "Locks hold on this node; other nodes were not asked.", {
        "lock_milliseconds": milliseconds(seconds)
    }


def bytes_speed(examined: Examined) -> Found:
    """Measure writing and reading of one big file."""
    if objects.are_kept(examined):
        return objects.bytes_speed(examined)
    room = examined.backend.capacity()
    known = room.capacity_bytes is not None and room.used_bytes is not None
    free = (room.capacity_bytes or 0) - (room.used_bytes or 0) if known else None
    with _vfolder(examined) as top:
        figures = speed.write_big(top, _BIG, examined.big_bytes, free)
        figures |= speed.read_big(top, _BIG)
        os.unlink(_BIG, dir_fd=top)
    return (
        f"Writes {figures['write_mib_per_second']} MiB/s, reads {figures['read_mib_per_second']} "
        f"MiB/s ({figures['read_by']}); one file of {figures['written_mib']} MiB."
    ), figures


def small_files(examined: Examined) -> Found:
    """Measure files of 4 KiB."""
    if objects.are_kept(examined):
        return objects.small_files(examined)
    with _vfolder(examined) as top:
        figures = speed.small_files(top)
    return (
        f"Makes {figures['made_per_second']} and removes {figures['removed_per_second']} files of "
        f"4 KiB per second; one synced file takes {figures['synced_file_milliseconds']} ms."
    ), figures


def _vfolder(examined: Examined) -> AbstractContextManager[int]:
    if objects.are_kept(examined):
        raise NotAvailable("Vfolders are objects of a bucket here: none has a directory.")
    return examined.backend.open_vfolder(VFOLDER)


def _write(top: int, name: str, content: bytes) -> None:
    """Write a small file completely, and sync it."""
    file = os.open(name, _NEW, 0o600, dir_fd=top)
    try:
        atomic.write_all(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def _read(top: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    with open(file, "rb") as stream:
        return stream.read()
