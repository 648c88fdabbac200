"""Whether files of a file system can share their blocks (reflinks), found by a trial."""

import errno
import os
from uuid import uuid4

from backends.fs import atomic, descriptors, layout, linux

_MODE = 0o600
#: Errors that are final. Others, such as a full volume or a missing right, may pass.
_NEVER = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EXDEV})
#: Errors of file systems that have no files without a name (NFS, FUSE).
_ONLY_NAMED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EISDIR, errno.ENOSYS})


def shares_blocks(top: int) -> bool | None:
    """Return whether two files share a page after a trial; None when the trial failed for now.

    `top` is a descriptor of the volume's top. The files have no name, so no process sees them.
    """
    made: list[int] = []
    try:
        made.append(_unnamed_file(top))
        made.append(_unnamed_file(top))
        atomic.write_all(made[0], bytes(os.sysconf("SC_PAGE_SIZE")))
        linux.clone_file(made[0], made[1])
    except OSError as error:
        return False if error.errno in _NEVER else None
    finally:
        for fd in made:
            os.close(fd)
    return True


def _unnamed_file(top: int) -> int:
    """Open a file without a name; where there are none, one that was made and unlinked."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE, dir_fd=top)
    except OSError as error:
        if error.errno not in _ONLY_NAMED:
            raise
    hidden = layout.area(None, layout.MAKING)
    with descriptors.made(hidden, top, descriptors.HIDDEN_MODE) as making:
        name = f"shares-{uuid4().hex}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, _MODE, dir_fd=making)
        os.unlink(name, dir_fd=making)
    return fd
