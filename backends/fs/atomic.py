"""Read and write small files: a reader, and a crash, find the old content or the new one.

A write(2) may write less than it was given, for example on a file system that becomes full. These
functions continue it, so that the error of the next call is not missed.
"""

import os
from contextlib import suppress
from secrets import token_hex
from typing import TypeVar

import msgspec

from backends.fs import descriptors

#: Files that only vfolder reads.
PRIVATE_MODE = 0o600
#: A longer record is none of ours.
_RECORD_MAX_BYTES = 4096
T = TypeVar("T")


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the position of `fd`.

    Raises:
        OSError: a part could not be written; the file has what was written before it.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def pwrite_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at an offset; the position of `fd` stays.

    Raises:
        OSError: as `write_all`.
    """
    rest = memoryview(data)
    while rest:
        count = os.pwrite(fd, rest, offset)
        rest, offset = rest[count:], offset + count


def replace_file(
    dir_fd: int, name: str, data: bytes, *, mode: int = PRIVATE_MODE, draft: str | None = None
) -> None:
    """Make `name` in an open directory a file with this content, on disk when this returns.

    The content goes to a draft, which takes the name by rename(2) once it is on disk. A failure
    removes the draft. A crash may leave it, so a caller whose directory is listed gives `draft` a
    name that its readers leave out; the next writer of that draft replaces it. Writers at the same
    time need drafts of their own, which the default name is.

    The file belongs to the owner of the directory where this process is root
    (`descriptors.inherit_owner`). `dir_fd` must be open for reading: O_PATH cannot be synced.

    Raises:
        OSError: the name keeps its old content. Only an error of the directory's fsync comes after
            the rename.
    """
    own = draft or f".{name}.{token_hex(8)}"
    try:
        _write_draft(dir_fd, own, data, mode)
        os.rename(own, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(own, dir_fd=dir_fd)
        raise
    os.fsync(dir_fd)


def read_record(dir_fd: int, name: str, shape: type[T]) -> T | None:
    """Return the record in a small file of JSON; None when there is no readable one.

    Raises:
        OSError: the file cannot be read; ELOOP where a link has its name.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(fd, _RECORD_MAX_BYTES), type=shape)
    except msgspec.DecodeError:
        return None
    finally:
        os.close(fd)


def _write_draft(dir_fd: int, name: str, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, mode, dir_fd=dir_fd)
    try:
        write_all(fd, data)
        if os.fstat(fd).st_mode & 0o7777 != mode:  # the umask took bits away
            os.fchmod(fd, mode)
        descriptors.inherit_owner(name, dir_fd)
        os.fsync(fd)
    finally:
        os.close(fd)
