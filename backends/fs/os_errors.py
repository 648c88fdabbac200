"""What an error of the operating system means to a caller.

Mistakes of the caller (no such entry, a directory where a file is meant …) are 4xx; a full, broken
or silent storage is not his fault. Texts are the system's own (`strerror`), never its file names.
"""

import errno
import os

from core.errors import (
    BackendFailed,
    DeadlineExceeded,
    EntryRefused,
    NoSpace,
    QuotaExceeded,
    StorageError,
)

_CALLERS = frozenset(
    {
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
        errno.EBUSY,
        errno.EXDEV,
        errno.ETXTBSY,
        errno.EMLINK,
        errno.EROFS,
        errno.EFBIG,
        errno.ENXIO,
        errno.EILSEQ,
    },
)


def translate(error: OSError, *paths: str) -> StorageError:
    """The error of our tree for an OSError; `paths` are those of the request, as it wrote them."""
    number = error.errno
    text = os.strerror(number) if number else "The file system refused."
    if number == errno.ENOSPC:
        return NoSpace("The volume is full; free some space or ask for another volume.")
    if number == errno.EDQUOT:
        return QuotaExceeded("The quota scope is full; delete something or raise its limit.")
    if number == errno.ETIMEDOUT:
        return DeadlineExceeded("The storage did not answer in time; the same call may work later.")
    if number in _CALLERS:
        return EntryRefused(f"{text}.", errno=number, paths=list(paths))
    return BackendFailed(f"The storage failed: {text}.", errno=number)
