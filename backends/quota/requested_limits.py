"""Limits as they were requested, kept at the top of the volume where they count for no scope.

One small file per quota scope: `.vfolder/limits/<scope>`. On a full file system a limit can still
be removed; one that cannot store the file refuses a new limit.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct, structs

from backends.fs import atomic, descriptors, layout
from core.names import QuotaScope

_DIRECTORY = PurePosixPath(layout.HIDDEN, layout.LIMITS)
#: The end of the name of a record that is being written.
DRAFT_SUFFIX = ".new"


class RequestedLimit(Struct, frozen=True, omit_defaults=True):
    """The limits that were requested for a scope."""

    #: The limit before rounding; 0 is none.
    requested_bytes: int
    #: An existing tree is being put under the limit; another process continues an interrupted one.
    adopting: bool = False
    limit_inodes: int | None = None
    #: The soft limit before rounding.
    soft_limit_bytes: int | None = None


_NOTHING = RequestedLimit(0)


def keep(root: int, scope: QuotaScope, limit: RequestedLimit) -> None:
    """Store what was requested durably; after a power failure the old or the new one is there.

    Nothing requested is no record.

    Raises:
        OSError: the volume is full, read-only …
    """
    if limit == _NOTHING:
        forget(root, scope)
        return
    draft = f"{scope.directory}.{os.getpid()}{DRAFT_SUFFIX}"
    with descriptors.made(_DIRECTORY, root, descriptors.HIDDEN_MODE) as directory:
        content = msgspec.json.encode(limit)
        atomic.replace_file(directory, scope.directory, content, draft=draft)


def settle(root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
    """Store the limit of bytes that is in force from now on; None is none.

    The other limits stay, except a soft one above it.

    Raises:
        OSError: as `keep`.
    """
    known = find(root, scope) or _NOTHING
    soft = known.soft_limit_bytes
    if soft is not None and limit_bytes is not None and soft > limit_bytes:
        soft = None
    change(root, scope, requested_bytes=limit_bytes or 0, adopting=False, soft_limit_bytes=soft)


def change(root: int, scope: QuotaScope, **facts: Any) -> None:  # noqa: ANN401 - fields of the record
    """Store some facts about a scope, and keep the others.

    Raises:
        OSError: as `keep`.
    """
    keep(root, scope, structs.replace(find(root, scope) or _NOTHING, **facts))


def requested(
    root: int, scope: QuotaScope, limit_bytes: int, effective: Callable[[int], int]
) -> int | None:
    """Return the limit that was requested, where the storage system enforces `limit_bytes`.

    Returns `limit_bytes` itself when an administrator has changed the limit since. Returns None
    when this process may not read the record.
    """
    try:
        limit = find(root, scope)
    except PermissionError:
        return None
    if limit is None or not limit.requested_bytes:
        return limit_bytes
    same = effective(limit.requested_bytes) == limit_bytes
    return limit.requested_bytes if same else limit_bytes


def find(root: int, scope: QuotaScope) -> RequestedLimit | None:
    """Return the limit requested for a scope; None when there is no readable record."""
    try:
        with descriptors.opened(_DIRECTORY, root) as directory:
            return atomic.read_record(directory, scope.directory, RequestedLimit)
    except FileNotFoundError:
        return None


def forget(root: int, scope: QuotaScope) -> None:
    """Remove the record of a scope; a missing one is fine."""
    with suppress(FileNotFoundError), descriptors.opened(_DIRECTORY, root) as directory:
        os.unlink(scope.directory, dir_fd=directory)
        os.fsync(directory)


def names(root: int) -> list[str]:
    """Return the directory names of all scopes with a record; drafts are left out."""
    return [name for name in descriptors.names(_DIRECTORY, root) if "." not in name]
