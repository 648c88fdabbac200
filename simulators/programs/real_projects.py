"""Project quota of the file system below a stand-in `lfs`, by its own system calls.

It imports nothing of the project: the stand-in starts for each command, in a slow kernel. Numbers
and layouts: <linux/fs.h>, <linux/quota.h>, quotactl_fd(2).
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

GET_XATTR, SET_XATTR, INHERIT = 0x801C581F, 0x401C5820, 0x200
FSXATTR = struct.Struct("=IIIII8x")
QUOTACTL_FD, GET_QUOTA, SET_QUOTA, PROJECTS, BLOCK_LIMITS = 443, 0x800007, 0x800008, 2, 1
DQBLK = struct.Struct("=8QI4x")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _quotactl(fd: int, command: int, project: int, content: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(content, DQBLK.size)
    number = ctypes.c_uint(command << 8 | PROJECTS)
    if _libc.syscall(QUOTACTL_FD, fd, number, ctypes.c_uint(project), buffer) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw


def project_of(path: str) -> int:
    """The id of an inode."""
    with _opened(path) as fd:
        return int(FSXATTR.unpack(fcntl.ioctl(fd, GET_XATTR, bytes(FSXATTR.size)))[3])


def tag(path: str, project: int) -> None:
    """Set the id of an inode, and whether entries of a directory inherit it."""
    with _opened(path) as fd:
        flags, extent, extents, _, cow = FSXATTR.unpack(
            fcntl.ioctl(fd, GET_XATTR, bytes(FSXATTR.size))
        )
        if os.path.isdir(path):
            flags = flags | INHERIT if project else flags & ~INHERIT
        fcntl.ioctl(fd, SET_XATTR, FSXATTR.pack(flags, extent, extents, project, cow))


def usage(path: str, project: int) -> tuple[int, int, int]:
    """KiB used, limit in KiB, inodes."""
    with _opened(path) as fd:
        try:
            raw = _quotactl(fd, GET_QUOTA, project, b"")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return 0, 0, 0
    hard, _, space, _, _, inodes, *_ = DQBLK.unpack(raw)
    return -(-space // 1024), hard, inodes


def limit(path: str, project: int, kib: int) -> None:
    """Set a limit of bytes; that of inodes stays."""
    with _opened(path) as fd:
        _quotactl(fd, SET_QUOTA, project, DQBLK.pack(kib, 0, 0, 0, 0, 0, 0, 0, BLOCK_LIMITS))
