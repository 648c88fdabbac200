"""Whether files of a file system can share their blocks (reflinks): found out by doing it."""

import errno
import os
from uuid import uuid4

from backends.fs import atomic, descriptors, layout, linux

_MODE = 0o600
#: What says that it will never be: other refusals (no room, no right) may pass.
_NEVER = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EXDEV})
#: How file systems say that they have no nameless files (NFS, FUSE).
_ONLY_NAMED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EISDIR, errno.ENOSYS})


def shares_blocks(top: int) -> bool | None:
    """Try it with two files of a page that nobody sees; None when that cannot be told now.

    `top` is a descriptor of the volume's top.
    """
    made: list[int] = []
    try:
        made.append(_unseen(top))
        made.append(_unseen(top))
        atomic.write_all(made[0], bytes(os.sysconf("SC_PAGE_SIZE")))
        linux.clone_file(made[0], made[1])
    except OSError as error:
        return False if error.errno in _NEVER else None
    finally:
        for fd in made:
            os.close(fd)
    return True


def _unseen(top: int) -> int:
    """A file without a name; where there are none, one in a room of ours that lost its name."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE, dir_fd=top)
    except OSError as error:
        if error.errno not in _ONLY_NAMED:
            raise
    room = layout.area(None, layout.MAKING)
    with descriptors.made(room, top, descriptors.HIDDEN_MODE) as making:
        name = f"shares-{uuid4().hex}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, _MODE, dir_fd=making)
        os.unlink(name, dir_fd=making)
    return fd
