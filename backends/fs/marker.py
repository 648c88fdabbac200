"""The marker at the top of a volume: a small file with the UUID of the volume.

    <volume>/.vfolder-volume    line 1: the UUID; line 2: a note for people

A directory without it is not the volume, whatever path led there. The file is read through the
descriptor of the top, so no mount can change between the check and what is done beneath it. It
never changes once it is made: a copy of it has another inode or another time of change.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID, uuid4

from backends.fs import atomic, descriptors, linux

#: Beside the scopes, not in the hidden directory: doors that may not read that must read this.
NAME = ".vfolder-volume"
MODE = 0o644
_NOTE = "This file tells vfolder which volume this is. Do not change, copy or delete it.\n"
#: More bytes than a marker has.
_READ_BYTES = 1024
#: The top takes no file: it is read-only, not ours, or full.
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Facts(NamedTuple):
    """What the kernel says of one marker: equal facts are the same file, unchanged."""

    device: int
    inode: int
    changed_ns: int


class Marker(NamedTuple):
    """The UUID of a marker; empty when the file is no marker. And the file's facts."""

    uuid: str
    facts: Facts


def facts(root: int) -> Facts:
    """Return the facts of the marker below a descriptor; of the top itself where there is none.

    Costs one system call where the marker is there.

    Raises:
        OSError: the file system failed.
    """
    try:
        status = os.stat(NAME, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        top = os.fstat(root)
        return Facts(top.st_dev, top.st_ino, 0)
    return _facts(status)


def _facts(status: os.stat_result) -> Facts:
    return Facts(status.st_dev, status.st_ino, status.st_ctime_ns)


def read(root: int) -> Marker | None:
    """Return the marker below a descriptor; None when there is none.

    Raises:
        OSError: the file system failed; ELOOP when a link has the name.
    """
    try:
        fd = os.open(NAME, _OPEN, dir_fd=root)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        text = os.read(fd, _READ_BYTES) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(fd)
    return Marker(_uuid(text), _facts(status))


def _uuid(text: bytes) -> str:
    try:
        return str(UUID(text.split(b"\n", 1)[0].decode("ascii")))
    except ValueError:
        return ""


def make(root: int, *, replace: bool = False) -> str:
    """Make a marker, on disk when this returns; return its UUID, or "" when the top takes no file.

    Of several processes that make one at once, one succeeds; all of them then read the same marker.
    With `replace` the new marker takes the place of an old one.

    Raises:
        OSError: the file system failed.
    """
    uuid = str(uuid4())
    text = f"{uuid}\n{_NOTE}".encode()
    try:
        if replace:
            atomic.replace_file(root, NAME, text, mode=MODE)
        else:
            _make_first(root, f"{NAME}.{uuid}", text)
    except OSError as error:
        if error.errno in _REFUSED:
            return ""
        raise
    return uuid


def _make_first(root: int, draft: str, text: bytes) -> None:
    fd = os.open(draft, _NEW, MODE, dir_fd=root)
    try:
        try:
            atomic.write_all(fd, text)
            os.fchmod(fd, MODE)
            os.fsync(fd)
        finally:
            os.close(fd)
        descriptors.inherit_owner(draft, root)
        with suppress(FileExistsError):  # another process made it
            descriptors.rename_noreplace(draft, root, NAME, root)
        os.fsync(root)
    finally:
        with suppress(FileNotFoundError):  # it has its name
            os.unlink(draft, dir_fd=root)


def remove(root: int) -> None:
    """Remove the marker; a missing one is a success.

    Raises:
        OSError: the file system failed.
    """
    with suppress(FileNotFoundError):
        os.unlink(NAME, dir_fd=root)


def of_file_system(root: int) -> str:
    """Return an id for a top that takes no marker, from what the kernel says of its file system.

    It tells a read-only volume from the empty directory under its mount point. It is weaker than a
    UUID: NFS and FUSE have no number of their own here.
    """
    top = os.fstat(root)
    return f"fs-{linux.magic(root):x}-{os.fstatvfs(root).f_fsid:x}-{top.st_ino:x}"
