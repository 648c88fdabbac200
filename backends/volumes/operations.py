"""Bounded acts on a volume, each by a name, so that another node can do them for us.

Every act takes a backend, or the descriptor of a vfolder's root, and values that its annotations
describe; the doors call them directly on their own volumes. Only what is listed here is ever done
for another node, and what comes from there is checked like any stranger's words.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backends.base import (
    Backend,
    Capacity,
    HardwareInfo,
    HasFastUsage,
    MountedBackend,
    PerformanceMetric,
    QuotaUsage,
    TreeUsage,
)
from backends.entries import entries, listing, metadata
from backends.fs import descriptors, layout, paths
from backends.mounted import measured
from backends.quota import quick_usage
from backends.retention import snapshots, trash
from backends.uploads import staging
from backends.xcp import exported
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    QuotaScopeExists,
    QuotaScopeNotFound,
    VFolderNotFound,
)
from core.names import QuotaScope, VFolderId, VFolderPath

Act = Callable[..., Any]


# -- On a volume -----------------------------------------------------------------------------------
def hardware(backend: Backend) -> HardwareInfo:
    """See `Backend.hardware`."""
    return backend.hardware()


def capacity(backend: Backend) -> Capacity:
    """See `Backend.capacity`."""
    return backend.capacity()


def performance(backend: Backend) -> PerformanceMetric | None:
    """How fast the volume is now; None when nobody knows."""
    return measured(backend)


def reflinks(backend: Backend) -> bool:
    """Whether files of the volume can share blocks."""
    mounted = backend.skill(MountedBackend)
    return mounted is not None and mounted.reflinks()


def uses_xcp(backend: Backend) -> bool:
    """Whether the volume tells how XCP reaches it."""
    return exported(backend) is not None


def create_scope(backend: Backend, scope: QuotaScope, limit_bytes: int | None) -> None:
    """See `Backend.create_scope`."""
    backend.create_scope(scope, limit_bytes)


def describe_scope(backend: Backend, scope: QuotaScope) -> QuotaUsage:
    """See `Backend.describe_scope`."""
    return backend.describe_scope(scope)


def set_limit(backend: Backend, scope: QuotaScope, limit_bytes: int) -> None:
    """See `Backend.set_limit`."""
    backend.set_limit(scope, limit_bytes)


def unset_limit(backend: Backend, scope: QuotaScope) -> None:
    """See `Backend.unset_limit`."""
    backend.unset_limit(scope)


def create_vfolder(
    backend: Backend, vfolder: VFolderId, mode: int, limit_bytes: int | None, *, automatic: bool
) -> None:
    """Make an empty vfolder; with `automatic` its missing scope too, with a first limit.

    Raises:
        QuotaScopeNotFound, VFolderExists: as `Backend.create_vfolder`.
    """
    try:
        backend.create_vfolder(vfolder, mode)
    except QuotaScopeNotFound:
        if not automatic or vfolder.scope is None:
            raise
        with suppress(QuotaScopeExists):  # made meanwhile, for another vfolder
            backend.create_scope(vfolder.scope, limit_bytes)
        backend.create_vfolder(vfolder, mode)


def exists(backend: Backend, vfolder: VFolderId) -> bool:
    """Whether the vfolder is there."""
    try:
        with backend.open_vfolder(vfolder):
            return True
    except VFolderNotFound:
        return False


def mount_path(backend: Backend, vfolder: VFolderId) -> str:
    """See `Backend.vfolder_path`."""
    return str(backend.vfolder_path(vfolder))


def fast_usage(backend: Backend, vfolder: VFolderId) -> TreeUsage | None:
    """What the storage system itself knows of a vfolder's size; None when it does not."""
    counter = backend.skill(HasFastUsage)
    return counter.fast_usage(vfolder) if counter else None


# -- In a vfolder ----------------------------------------------------------------------------------
def check_inside(root: int, path: VFolderPath) -> None:
    """Nothing, unless the path leads out of the vfolder.

    Raises:
        PathEscape: it does.
    """
    try:
        paths.stat_beneath(root, path)
    except EntryNotFound:
        return


def check_free(root: int, path: VFolderPath) -> None:
    """Nothing, unless something has that name.

    Raises:
        EntryExists: so it is.
        PathEscape: the path leads out.
    """
    with suppress(EntryNotFound):
        paths.stat_beneath(root, path, follow=False)
        raise EntryExists("Something of that name is there; a new name is needed.")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file, and which file it was."""

    inode: int
    data: bytes


def read_piece(root: int, path: VFolderPath, offset: int, size: int, inode: int = 0) -> Piece:
    """Bytes of a regular file; with `inode`, of that file only.

    Raises:
        EntryNotFound, PathEscape: no such file.
        EntryRefused: another file has the name now.
    """
    descriptor = paths.open_file(root, path)
    try:
        found = os.fstat(descriptor).st_ino
        if inode and found != inode:
            raise EntryRefused("The file was replaced while it was read.", paths=[str(path)])
        return Piece(found, os.pread(descriptor, size, offset))
    finally:
        os.close(descriptor)


# -- Reports of jobs -------------------------------------------------------------------------------
def open_report(backend: Backend, scope: QuotaScope | None, job: str) -> int | None:
    """A descriptor of a job's report; None when there is none."""
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return None
    path = layout.report(scope, job)
    try:
        with mounted.root() as root, descriptors.opened(path.parent, root) as parent:
            return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_report(
    backend: Backend, scope: QuotaScope | None, job: str, offset: int, size: int
) -> bytes | None:
    """Bytes of a job's report; None when there is none."""
    descriptor = open_report(backend, scope, str(UUID(job)))
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def _named(*acts: Act) -> dict[str, Act]:
    return {name_of(act): act for act in acts}


def name_of(act: Act) -> str:
    """The name of an act, as it travels."""
    return f"{act.__module__}.{act.__qualname__}"


#: Acts that take a backend first.
ON_VOLUME = _named(
    hardware,
    capacity,
    performance,
    reflinks,
    uses_xcp,
    create_scope,
    describe_scope,
    set_limit,
    unset_limit,
    create_vfolder,
    exists,
    mount_path,
    fast_usage,
    read_report,
    metadata.read,
    metadata.write,
    entries.remove_entries,
    snapshots.supported,
    trash.kept,
    trash.needed,
    trash.restorable,
    staging.begin,
)
#: Acts that take the descriptor of a vfolder's root first.
IN_VFOLDER = _named(
    check_inside,
    check_free,
    read_piece,
    entries.make_directory,
    entries.rename,
    entries.move,
    listing.list_directory,
    quick_usage.count,
)
