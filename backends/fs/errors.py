"""What the kernel's refusals mean where an upload is written and published."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backends.fs.os_errors import translate
from core.errors import EntryExists, PathEscape, StorageError


@contextmanager
def translated() -> Iterator[None]:
    """Turn the kernel's refusals into ours; no path of the host gets into the text."""
    try:
        yield
    except OSError as error:
        raise refusal(error) from error


def refusal(error: OSError) -> StorageError:
    """The one error of ours that an OSError of the volume means."""
    match error.errno:
        case errno.EISDIR | errno.EEXIST | errno.ENOTEMPTY:
            return EntryExists("A directory of that name is there; an upload never replaces one.")
        case errno.ENOTDIR | errno.ELOOP | errno.EXDEV:
            return PathEscape("A link or a file is in the way where a directory should be.")
        case _:
            return translate(error)
