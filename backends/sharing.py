"""Whether files of a file system can share their blocks (reflinks): found out by doing it."""

import errno
import fcntl
import os
from uuid import uuid4

#: ioctl_ficlonerange(2): share all blocks of another file.
FICLONE = 0x40049409
_MODE = 0o600
#: What says that it will never be: other refusals (no room, no right) may pass.
_NEVER = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EXDEV})


def shares_blocks(directory: int) -> bool | None:
    """Try it with two nameless files of a page; None when that cannot be told now."""
    opened: list[int] = []
    try:
        opened += (_nameless(directory), _nameless(directory))
        os.write(opened[0], b"\0" * os.sysconf("SC_PAGE_SIZE"))
        fcntl.ioctl(opened[1], FICLONE, opened[0])
    except OSError as error:
        return False if error.errno in _NEVER else None
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


def _nameless(directory: int) -> int:
    """A file that is gone with its descriptor; where O_TMPFILE is unknown (NFS), named at first."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR, _MODE, dir_fd=directory)
    except OSError as error:
        if error.errno not in _NEVER:
            raise
    name = f".shared-{uuid4().hex}"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE, dir_fd=directory)
    os.unlink(name, dir_fd=directory)
    return descriptor
