"""System calls of Linux that Python does not have; no other file of `backends` calls libc.

Every function raises OSError with the errno that the kernel gave.
"""

import ctypes
import errno
import fcntl
import os
import platform
import stat
import struct
from functools import cache

from backends.fs import native

#: openat2(2): resolve no link of /proc, no link at all, nothing above the directory, no mount.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
#: openat2(2) answers EAGAIN while renames disturb it; so many tries are enough.
TRIES_MAX = 128

#: Magic numbers of file systems (<linux/magic.h>).
XFS = 0x58465342
EXT4 = 0xEF53
BTRFS = 0x9123683E
FUSE = 0x65735546

#: Numbers of system calls, the same on every architecture.
_SYS_OPENAT2 = 437
_SYS_QUOTACTL_FD = 443
#: This one differs; other machines do without an idle I/O class.
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_SYNC_FILE_RANGE_WRITE = 2
_FALLOC_KEEP_SIZE = 1
_CLONE_FS = 0x200
_FICLONE = 0x40049409
_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
#: xflags, extsize, nextents, projid, cowextsize, padding.
_FSXATTR = struct.Struct("=IIIII8x")
_FS_XFLAG_PROJINHERIT = 0x200
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_IDLE = 3 << 13
#: Larger than struct statfs on every architecture.
_STATFS_BYTES = 256
#: statx(2): the descriptor itself, without a call to a server; and its buffer.
_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_BYTES = 256
_STATX_ATTRIBUTES_AT = 8
_STATX_ATTRIBUTES_KNOWN_AT = 56
_STATX_ATTR_MOUNT_ROOT = 0x2000
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    """Return the result of a system call.

    Raises:
        OSError: the call failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def openat2(root_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """Open a path below a directory, resolved by the kernel (openat2(2), Linux 5.6).

    Tries again while renames disturb it and signals interrupt it.

    Raises:
        OSError: EXDEV or ELOOP where `resolve` forbids the path, EAGAIN when renames never pause,
            and the errors of open(2).
    """
    if native.AVAILABLE:
        return native.openat2(root_fd, path, flags, mode, resolve)
    return _openat2(root_fd, path, flags, mode, resolve)


def _openat2(root_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = _OpenHow(flags, mode, resolve)
    name = os.fsencode(path)
    for tries in range(TRIES_MAX):
        try:
            return _checked(
                _libc.syscall(_SYS_OPENAT2, root_fd, name, ctypes.byref(how), ctypes.sizeof(how))
            )
        except InterruptedError:
            continue
        except BlockingIOError:
            if tries == TRIES_MAX - 1:
                raise
    raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


@cache
def kernel_resolves() -> bool:
    """Return whether the kernel has openat2(2) and permits it; filters of seccomp may forbid it."""
    try:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(openat2(root, ".", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_BENEATH))
        finally:
            os.close(root)
    except OSError:
        return False
    return True


def rename_noreplace(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Rename an entry unless the target exists (renameat2(2), RENAME_NOREPLACE).

    Raises:
        OSError: EEXIST; EINVAL, ENOSYS or EOPNOTSUPP where the file system has no such rename.
    """
    _checked(
        _libc.renameat2(
            source_fd, os.fsencode(source), target_fd, os.fsencode(target), _RENAME_NOREPLACE
        )
    )


def rename_exchange(one: str, one_fd: int, other: str, other_fd: int) -> None:
    """Exchange two entries by one change (renameat2(2), RENAME_EXCHANGE).

    Raises:
        OSError: ENOENT when one is missing; EINVAL, ENOSYS or EOPNOTSUPP where the file system has
            no such rename.
    """
    names = os.fsencode(one), os.fsencode(other)
    _checked(_libc.renameat2(one_fd, names[0], other_fd, names[1], _RENAME_EXCHANGE))


def begin_writeback(fd: int, start: int, size: int) -> None:
    """Start to write a range of a file to disk, without waiting (sync_file_range(2)).

    Raises:
        OSError: EIO, ENOSPC; ESPIPE or EOPNOTSUPP where the file has no such call.
    """
    _checked(
        _libc.sync_file_range(
            fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE
        )
    )


def sync_file_system(fd: int) -> None:
    """Bring everything written to the file system of `fd` onto disk (syncfs(2)).

    Raises:
        OSError: EIO, ENOSPC or EDQUOT when an earlier write could not be kept.
    """
    _checked(_libc.syncfs(fd))


def detach_mount(parent: int, name: str) -> None:
    """Take away what is mounted on a directory; open files keep it (umount2(2), MNT_DETACH).

    Raises:
        OSError: EINVAL when nothing is mounted there, EPERM without CAP_SYS_ADMIN.
    """
    path = os.fsencode(f"/proc/self/fd/{parent}/{name}")
    _checked(_libc.umount2(path, _MNT_DETACH | _UMOUNT_NOFOLLOW))


def preallocate(fd: int, start: int, size: int) -> None:
    """Allocate the blocks of a range, without changing the size of the file (fallocate(2)).

    Raises:
        OSError: ENOSPC, EDQUOT, EOPNOTSUPP. A part of the range may be allocated all the same.
    """
    _checked(_libc.fallocate(fd, _FALLOC_KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(size)))


def clone_file(source: int, target: int) -> None:
    """Let `target` share all blocks of `source` (ioctl_ficlone(2)).

    Raises:
        OSError: EOPNOTSUPP, ENOTTY, EINVAL or EXDEV where files cannot share blocks; ENOSPC …
    """
    fcntl.ioctl(target, _FICLONE, source)


def project_of(fd: int) -> tuple[int, bool]:
    """Return the project id of an inode, 0 for none, and whether new entries in it inherit that.

    Raises:
        OSError: ENOTTY or EOPNOTSUPP where the file system knows no projects.
    """
    flags, _, _, project, _ = _fsxattr(fd)
    return project, bool(flags & _FS_XFLAG_PROJINHERIT)


def set_project(fd: int, project: int) -> None:
    """Set the project id of an inode; entries made in a directory from now on inherit it.

    Raises:
        OSError: EDQUOT or ENOSPC when the project's limit has no space for the inode; EPERM
        without the right.
    """
    flags, extent, extents, _, cow = _fsxattr(fd)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        flags = flags | _FS_XFLAG_PROJINHERIT if project else flags & ~_FS_XFLAG_PROJINHERIT
    fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, _FSXATTR.pack(flags, extent, extents, project, cow))


def _fsxattr(fd: int) -> tuple[int, ...]:
    found = fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    return _FSXATTR.unpack(found)


def magic(fd: int) -> int:
    """Return the magic number of the file system of `fd` (fstatfs(2)).

    Raises:
        OSError: EBADF, EIO, ESTALE.
    """
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    _checked(_libc.fstatfs(fd, buffer))
    return ctypes.c_long.from_buffer(buffer).value


def is_mount_root(fd: int) -> bool:
    """Return whether a directory is the top of a mount, bind mounts included (statx(2), Linux 5.8).

    An older kernel does not say; there the directory's device is compared with its parent's, which
    does not show a bind mount of the same file system.

    Raises:
        OSError: EBADF, ESTALE.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    _checked(_libc.statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer))
    known = ctypes.c_uint64.from_buffer(buffer, _STATX_ATTRIBUTES_KNOWN_AT).value
    if known & _STATX_ATTR_MOUNT_ROOT:
        attributes = ctypes.c_uint64.from_buffer(buffer, _STATX_ATTRIBUTES_AT).value
        return bool(attributes & _STATX_ATTR_MOUNT_ROOT)
    return os.fstat(fd).st_dev != os.stat("..", dir_fd=fd).st_dev


def quotactl(command: int, fd: int, identity: int, buffer: "ctypes.Array[ctypes.c_char]") -> None:
    """Read or change a quota of the file system of `fd` (quotactl_fd(2), Linux 5.14).

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ESRCH where the quota is off, ENOSYS.
    """
    _checked(
        _libc.syscall(
            _SYS_QUOTACTL_FD,
            ctypes.c_uint(fd),
            ctypes.c_uint(command),
            ctypes.c_uint(identity),
            buffer,
        )
    )


def buffer_of(content: bytes, size: int = 0) -> "ctypes.Array[ctypes.c_char]":
    """Return a buffer for a system call that begins with `content`, at least `size` bytes long."""
    return ctypes.create_string_buffer(content, max(len(content), size))


def detach_umask() -> None:
    """Give this thread a umask and a working directory of its own (unshare(2), CLONE_FS).

    Raises:
        OSError: EPERM where a filter of seccomp forbids it.
    """
    _checked(_libc.unshare(_CLONE_FS))


def use_idle_io() -> None:
    """Let this thread use the disk only when no other wants it (ioprio_set(2), idle class).

    Does nothing on machines whose number of the call is not known.

    Raises:
        OSError: EPERM.
    """
    number = _SYS_IOPRIO_SET.get(platform.machine())
    if number is not None:
        _checked(_libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_CLASS_IDLE))
