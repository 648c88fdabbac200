"""Map an errno to the error of ours that it means: one table for every door, job and report.

A route, a verb and a report that meet the same errno give the same class, so the same status,
`error_code` and `retriable`. A text names only paths of the request, never a path of the host.

Classes and why:

* The path of the request is wrong (400, 404, 409): the same call fails again. EISDIR is a conflict
  like EEXIST, because a directory has the name that a file is meant to get.
* ELOOP and EXDEV are `PathEscape`: the kernel gives them for a link that is not followed and for a
  step out of the vfolder. Both doors hide what is outside.
* EBUSY and ETXTBSY pass by themselves, so a client may try again (409, retriable). EROFS does not
  pass until an operator mounts the volume writable (409, not retriable).
* EIO, ESTALE and a lost server are failures of the storage (503, retriable). EMFILE, ENFILE, ENOMEM
  and EAGAIN are failures of this node (503, retriable).
* Any other number is `BackendFailed` (500).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from core.errors import (
    BackendFailed,
    DeadlineExceeded,
    EntryBusy,
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidName,
    NoSpace,
    PathEscape,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
    StorageError,
    StorageUnavailable,
    Unavailable,
)

_FAILED = "The storage failed: {text}."
_BUSY_NODE = "This node lacks resources: {text}. Try again later."


class Meaning(NamedTuple):
    """What an errno means: the class holds status, `error_code` and `retriable`."""

    error: type[StorageError]
    #: One sentence; `{entry}` is the first path of the request, `{text}` is strerror(3).
    sentence: str


MEANINGS: dict[int, Meaning] = {
    errno.ENOENT: Meaning(EntryNotFound, "{entry} does not exist."),
    errno.EEXIST: Meaning(EntryExists, "{entry} already exists."),
    errno.EISDIR: Meaning(EntryExists, "{entry} is a directory; no file replaces it."),
    errno.ENOTEMPTY: Meaning(EntryExists, "{entry} is not empty."),
    errno.ENOTDIR: Meaning(EntryRefused, "{entry} is not a directory, or a part before it is not."),
    errno.ENXIO: Meaning(EntryRefused, "{entry} is a fifo or a device."),
    errno.EINVAL: Meaning(EntryRefused, "{entry} is not possible here."),
    errno.EMLINK: Meaning(EntryRefused, "{entry} has too many links."),
    errno.EFBIG: Meaning(EntryRefused, "{entry} is too big for the file system."),
    errno.ENAMETOOLONG: Meaning(InvalidName, "{entry} is too long."),
    errno.EILSEQ: Meaning(InvalidName, "{entry} has bytes that the file system refuses."),
    errno.ELOOP: Meaning(
        PathEscape, "{entry} is a link that is not followed, or crosses too many links."
    ),
    errno.EXDEV: Meaning(
        PathEscape, "{entry} leads outside the vfolder or to another file system."
    ),
    errno.EACCES: Meaning(PermissionDenied, "{entry} may not be accessed."),
    errno.EPERM: Meaning(PermissionDenied, "{entry} may not be changed."),
    errno.EROFS: Meaning(ReadOnly, "The volume is read-only; no change is possible."),
    errno.EBUSY: Meaning(EntryBusy, "{entry} is in use by the system; try again later."),
    errno.ETXTBSY: Meaning(EntryBusy, "{entry} is being executed; try again later."),
    errno.ENOSPC: Meaning(NoSpace, "The volume is full; free some space or use another volume."),
    errno.EDQUOT: Meaning(
        QuotaExceeded, "The quota scope is full; delete something or raise its limit."
    ),
    errno.ETIMEDOUT: Meaning(
        DeadlineExceeded, "The storage did not answer in time; the same call may work later."
    ),
    **dict.fromkeys(
        (
            errno.EIO,
            errno.ESTALE,
            errno.ENODEV,
            errno.ENOTCONN,
            errno.EREMOTEIO,
            errno.EHOSTDOWN,
            errno.EHOSTUNREACH,
            errno.ECONNABORTED,
            errno.ECONNRESET,
        ),
        Meaning(StorageUnavailable, _FAILED),
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
        Meaning(Unavailable, _BUSY_NODE),
    ),
}
_UNKNOWN = Meaning(BackendFailed, _FAILED)

#: The request names a path that is wrong; no other call will do better with it.
_WRONG_PATH = (EntryNotFound, EntryExists, EntryRefused, InvalidName)
#: Every class that `translate` may return, each once.
ERRORS: tuple[type[StorageError], ...] = tuple(
    dict.fromkeys([meaning.error for meaning in MEANINGS.values()] + [_UNKNOWN.error])
)


def translate(error: OSError, *paths: str) -> StorageError:
    """Return the error of ours that an `OSError` means.

    `paths` are those of the request, as the request wrote them. The facts have `errno` and `paths`.
    """
    number = error.errno
    meaning = MEANINGS.get(number or 0, _UNKNOWN)
    detail = meaning.sentence.format(entry=_shown(paths), text=reason_of(error))
    return meaning.error(detail, errno=number, paths=list(paths))


def reason_of(error: OSError | StorageError) -> str:
    """Return the system's own words for an errno, as reports and logs have them beside a path.

    An error of ours without an errno has its own sentence.
    """
    if isinstance(error, StorageError):
        number = error.facts.get("errno")
        return os.strerror(number) if number else error.detail
    return os.strerror(error.errno) if error.errno else "unknown error"


@contextmanager
def translated(*paths: str) -> Iterator[None]:
    """Raise `translate(error, *paths)` for an `OSError` of the block."""
    try:
        yield
    except OSError as error:
        raise translate(error, *paths) from error


@contextmanager
def entry_errors(*paths: str) -> Iterator[None]:
    """As `translated`, for routes of the manager that name entries: a wrong path is 400.

    Released managers read a 404 of these routes as a vfolder that is gone, and read `errno` and
    `paths` of a 400. So a path that is wrong is `EntryRefused` there, whatever its class is
    elsewhere. Everything else keeps its class.
    """
    try:
        with translated(*paths):
            yield
    except _WRONG_PATH as error:
        number = error.facts.get("errno")
        if number is None:  # not from the file system
            raise
        raise EntryRefused(error.detail, errno=number, paths=list(paths)) from error


def _shown(paths: tuple[str, ...]) -> str:
    """Return the first path, with bytes that are not UTF-8 escaped."""
    if not paths or not paths[0]:  # the top of an archive or a tree has the empty path
        return "The entry"
    return paths[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
