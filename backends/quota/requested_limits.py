"""Limits as they were asked for, kept at the top of the volume where they count for no scope.

One small file per quota scope: `.vfolder/limits/<scope>`. A file system that is full still takes
the limit away; one that cannot keep a new text refuses the limit.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from backends.fs import descriptors, layout
from core.names import QuotaScope

_ROOM = PurePosixPath(layout.HIDDEN, layout.LIMITS)
_FILE_MODE = 0o600
_SIZE_MAX = 4096


class RequestedLimit(Struct, frozen=True):
    """What was asked for a scope."""

    #: The limit before rounding.
    requested_bytes: int
    #: A tree that was there before is being put under the limit; whoever comes next goes on.
    adopting: bool = False


def keep(root: int, scope: QuotaScope, wish: RequestedLimit) -> None:
    """Keep what was asked, durably; the old text or the new is there whenever the power fails.

    Raises:
        OSError: no room, read-only …
    """
    draft = f"{scope.directory}.{os.getpid()}.new"
    with descriptors.made(_ROOM, root, descriptors.HIDDEN_MODE) as room:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(draft, flags, _FILE_MODE, dir_fd=room)
        try:
            os.write(fd, msgspec.json.encode(wish))
            os.fsync(fd)
        finally:
            os.close(fd)
        descriptors.give_on(draft, room)
        os.rename(draft, scope.directory, src_dir_fd=room, dst_dir_fd=room)
        os.fsync(room)


def settle(root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
    """Keep what holds from now on; None forgets.

    Raises:
        As `keep`.
    """
    if limit_bytes is None:
        forget(root, scope)
    else:
        keep(root, scope, RequestedLimit(limit_bytes))


def requested(
    root: int, scope: QuotaScope, limit_bytes: int, effective: Callable[[int], int]
) -> int | None:
    """What was asked for where `limit_bytes` holds, unless somebody changed that behind our back.

    Whoever has no right to look does not know (None).
    """
    try:
        wish = find(root, scope)
    except PermissionError:
        return None
    if wish is None or not wish.requested_bytes:
        return limit_bytes
    same = effective(wish.requested_bytes) == limit_bytes
    return wish.requested_bytes if same else limit_bytes


def find(root: int, scope: QuotaScope) -> RequestedLimit | None:
    """What was asked for a scope; None when nothing was, or when it cannot be read as such."""
    try:
        with descriptors.opened(_ROOM, root) as room:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(scope.directory, flags, dir_fd=room)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(fd, _SIZE_MAX), type=RequestedLimit)
    except msgspec.DecodeError:
        return None
    finally:
        os.close(fd)


def forget(root: int, scope: QuotaScope) -> None:
    """Nothing is asked any more; absent is fine."""
    with suppress(FileNotFoundError), descriptors.opened(_ROOM, root) as room:
        os.unlink(scope.directory, dir_fd=room)
        os.fsync(room)


def names(root: int) -> list[str]:
    """The directories of all scopes that something was asked for; drafts are left out."""
    return [name for name in descriptors.names(_ROOM, root) if "." not in name]
