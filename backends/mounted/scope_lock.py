"""Serialize changes of a quota scope across threads, processes and nodes that mount the volume.

Each scope has, by its number, one byte of one file at the top of the volume. The byte is locked by
an open file description lock (fcntl(2), F_OFD_SETLK). NFS carries these locks to its server, unlike
flock(2) of a directory, and they end when the owner dies.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from backends.fs import descriptors, layout
from backends.mounted.rest import deadline
from core.errors import Unavailable

#: The file of locks, in the hidden directory at the top of the volume.
LOCKS = "scope-locks"
_MODE = 0o600
#: struct flock of <fcntl.h>: type, base, start, length, and a pid that must be 0 here.
_FLOCK = struct.Struct("hhqqi4x")
#: Bytes of the file that may be locked. Two scopes that share a byte wait for each other, no more.
_BYTES = 1 << 40
_POLL_SECONDS = 0.05
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


@contextmanager
def alone(root: int, number: int, what: str) -> Iterator[None]:
    """Hold the lock of a number for the block.

    Args:
        root: descriptor of the volume's top.
        number: the number of the scope.
        what: names the scope in the error.

    Raises:
        Unavailable: another process still holds the lock when the deadline of the call comes.
    """
    path = PurePosixPath(layout.HIDDEN)
    with descriptors.made(path, root, descriptors.HIDDEN_MODE) as hidden:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(LOCKS, flags, _MODE, dir_fd=hidden)
        descriptors.inherit_owner(LOCKS, hidden)
    try:
        lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number % _BYTES, 1, 0)
        while not _acquired(file, lock):
            if deadline.left() <= _POLL_SECONDS:
                raise Unavailable(f"{what} is being changed; try again.")
            deadline.rest(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


def _acquired(file: int, lock: bytes) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
