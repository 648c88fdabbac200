"""Names of a directory, stats of names, and both: in C where that was built, else in Python."""

import errno
import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from backends.fs import native
from backends.fs.native import Detail, Details, MakeFile, NameStatus

Made = TypeVar("Made")

#: Nanoseconds of the epoch that are no more in 64 bits.
_TIME_END_NS = 2**63
#: Entries that Python looks at together, about as many as C does.
_TOGETHER = 1_000


def names(descriptor: int, *, in_c: bool = native.AVAILABLE) -> list[str]:
    """Return all names of a directory that was not read yet, in the order of the directory.

    Raises:
        OSError: the file system failed.
    """
    return native.names(descriptor) if in_c else os.listdir(descriptor)


def stats(
    descriptor: int, names: list[str], *, in_c: bool = native.AVAILABLE
) -> list[NameStatus | None]:
    """Return what lstat(2) gives for names in a directory; None for those that are gone.

    Raises:
        OSError: the file system failed for one, other than with ENOENT.
    """
    if in_c:
        return native.stats(descriptor, [os.fsencode(name) for name in names])
    return [_status(descriptor, name) for name in names]


def _status(descriptor: int, name: str) -> NameStatus | None:
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_size, status.st_ctime, status.st_mtime


def details(descriptor: int, *, in_c: bool = native.AVAILABLE) -> Iterator[Details[Detail]]:
    """Yield what lstat(2) gives for all entries of a directory that was not read yet.

    An entry that is gone is left out. The memory is bounded however many entries there are.

    Raises:
        OSError: the file system failed.
    """
    if in_c:
        while (some := native.details(descriptor)) is not None:
            yield some
        return
    with os.scandir(descriptor) as entries:
        while listed := list(islice(entries, _TOGETHER)):
            yield _details(listed)


def files_and_details(
    descriptor: int, make: MakeFile[Made], longest: int, *, in_c: bool = native.AVAILABLE
) -> Iterator[Details[Made | Detail]]:
    """Yield what `details` does, but of plain files what `make` makes of them.

    Plain is a file that has one name, of less than `longest` bytes, and a time of 64 bits.

    Raises:
        OSError: the file system failed.
    """
    if in_c:
        while (some := native.details(descriptor, make, longest)) is not None:
            yield some
        return
    for found, failed in details(descriptor, in_c=False):
        yield [_made(one, make, longest) for one in found], failed


def _made(one: Detail, make: MakeFile[Made], longest: int) -> Made | Detail:
    name, mode, size, mtime_ns, inode, names, _ = one
    is_plain = stat.S_ISREG(mode) and names == 1 and len(name) < longest
    if is_plain and -_TIME_END_NS <= mtime_ns < _TIME_END_NS:
        return make(name, mode, size, mtime_ns, inode, b"", True)  # noqa: FBT003 - it is a file
    return one


def _details(listed: list["os.DirEntry[str]"]) -> Details[Detail]:
    found: list[Detail] = []
    failed: list[tuple[bytes, int]] = []
    for one in listed:
        name = os.fsencode(one.name)
        try:
            status = one.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append((name, error.errno or errno.EIO))
            continue
        numbers = status.st_mode, status.st_size, status.st_mtime_ns
        found.append((name, *numbers, status.st_ino, status.st_nlink, status.st_dev))
    return found, failed
