"""Whether files of a file system can share their blocks (reflinks): found out by doing it."""

import errno
import fcntl
import os

#: ioctl_ficlonerange(2): share all blocks of another file.
FICLONE = 0x40049409
_MODE = 0o600
#: What says that it will never be: other refusals (no room, no right) may pass.
_NEVER = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EXDEV})


def shares_blocks(directory: int) -> bool | None:
    """Try it with two nameless files of a page; None when that cannot be told now."""
    try:
        one = os.open(".", os.O_TMPFILE | os.O_RDWR, _MODE, dir_fd=directory)
    except OSError as error:
        return False if error.errno in _NEVER else None
    try:
        return _shared_by(one, directory)
    except OSError as error:
        return False if error.errno in _NEVER else None
    finally:
        os.close(one)


def _shared_by(one: int, directory: int) -> bool:
    other = os.open(".", os.O_TMPFILE | os.O_RDWR, _MODE, dir_fd=directory)
    try:
        os.write(one, b"\0" * os.sysconf("SC_PAGE_SIZE"))
        fcntl.ioctl(other, FICLONE, one)
    finally:
        os.close(other)
    return True
