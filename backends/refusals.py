"""What the kernel's refusals on a volume mean in our words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import (
    BackendFailed,
    EntryExists,
    InvalidParameters,
    NoSpace,
    PathEscape,
    QuotaExceeded,
    StorageError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the kernel's refusals into ours; no path of the host gets into the text."""
    try:
        yield
    except OSError as error:
        raise refusal(error) from error


def refusal(error: OSError) -> StorageError:
    """The one error of ours that an OSError of the volume means."""
    text = os.strerror(error.errno or 0)
    match error.errno:
        case errno.EDQUOT:
            return QuotaExceeded("The quota scope is full; remove something or ask for more.")
        case errno.ENOSPC | errno.EFBIG:
            return NoSpace("The volume is full.")
        case errno.EISDIR | errno.EEXIST | errno.ENOTEMPTY:
            return EntryExists("A directory of that name is there; an upload never replaces one.")
        case errno.ENOTDIR | errno.ELOOP | errno.EXDEV:
            return PathEscape("A link or a file is in the way where a directory should be.")
        case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
            return InvalidParameters(f"The volume does not take that name: {text}.")
        case _:
            return BackendFailed(f"The volume failed: {text}.", errno=error.errno)
