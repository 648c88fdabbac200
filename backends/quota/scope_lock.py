"""One at a time per quota scope, over threads, processes and nodes that mount the volume.

Each scope, by its number, has one byte of one file at the top of the volume, locked by an open file
description lock (fcntl(2), F_OFD_SETLK): NFS carries these to its server, other than flock(2) of a
directory, and they go when the holder dies.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from backends.fs import descriptors, layout
from backends.rest import deadline
from core.errors import Unavailable

#: At the top of the volume, in our own room.
LOCKS = "scope-locks"
_MODE = 0o600
#: struct flock of <fcntl.h>: kind, whence, start, length, and a pid that must be 0 here.
_FLOCK = struct.Struct("hhqqi4x")
#: Two scopes that share a byte wait for each other, and nothing worse.
_BYTES = 1 << 40
_POLL_SECONDS = 0.05
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


@contextmanager
def alone(root: int, number: int, what: str) -> Iterator[None]:
    """Nobody else has the lock of that number until the end; `root` is the volume's top.

    Raises:
        Unavailable: somebody still does when the deadline comes.
    """
    with descriptors.made(PurePosixPath(layout.HIDDEN), root, descriptors.HIDDEN_MODE) as room:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(LOCKS, flags, _MODE, dir_fd=room)
        descriptors.give_on(LOCKS, room)
    try:
        lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number % _BYTES, 1, 0)
        while not _taken(file, lock):
            if deadline.left() <= _POLL_SECONDS:
                raise Unavailable(f"{what} is being changed; try again.")
            deadline.rest(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


def _taken(file: int, lock: bytes) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
