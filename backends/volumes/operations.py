"""Bounded operations on a volume, each with a name, so that another node can do them.

Each operation takes a backend, or the descriptor of a vfolder's root, and values that its
annotations describe. A door calls them directly on its own volumes. The doors of other nodes may
ask for the operations of `ON_VOLUME` and `IN_VFOLDER` only; `remote` checks what they send.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from backends.base import (
    Backend,
    Capacity,
    HardwareInfo,
    HasFastUsage,
    HasInodeLimits,
    HasSoftLimits,
    MountedBackend,
    PerformanceMetric,
    QuotaUsage,
    TreeUsage,
)
from backends.entries import Piece, access_files, entries, listing, metadata, search
from backends.fs import descriptors, layout, paths
from backends.mounted import measured
from backends.quota import quick_usage
from backends.retention import snapshots, trash
from backends.transfer.xcp import exported
from backends.uploads import staging
from backends.volumes import entry_trash, quota_views, scope_records, snapshot_content
from backends.volumes.wrappers import skilled
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    QuotaScopeExists,
    QuotaScopeNotFound,
    VFolderNotFound,
)
from core.names import QuotaScope, VFolderId, VFolderPath

Operation = Callable[..., Any]


# -- On a volume -----------------------------------------------------------------------------------
def hardware(backend: Backend) -> HardwareInfo:
    """Return the state of the storage system, as `Backend.hardware` does."""
    return backend.hardware()


def capacity(backend: Backend) -> Capacity:
    """Return the size of the volume, as `Backend.capacity` does."""
    return backend.capacity()


def performance(backend: Backend) -> PerformanceMetric | None:
    """Return how fast the volume is now; None when that is unknown."""
    return measured(backend)


def reflinks(backend: Backend) -> bool:
    """Return whether files of the volume can share blocks."""
    mounted = backend.skill(MountedBackend)
    return mounted is not None and mounted.reflinks()


def uses_xcp(backend: Backend) -> bool:
    """Return whether the settings say how XCP reaches the volume."""
    return exported(backend) is not None


def create_scope(backend: Backend, scope: QuotaScope, limit_bytes: int | None) -> None:
    """Make a quota scope, as `Backend.create_scope` does."""
    backend.create_scope(scope, limit_bytes)


def describe_scope(backend: Backend, scope: QuotaScope) -> QuotaUsage:
    """Return limit and usage of a quota scope, as `Backend.describe_scope` does."""
    return backend.describe_scope(scope)


def set_limit(backend: Backend, scope: QuotaScope, limit_bytes: int) -> None:
    """Set the limit of a quota scope, as `Backend.set_limit` does."""
    backend.set_limit(scope, limit_bytes)


def further_limits(backend: Backend) -> list[str]:
    """Return which limits beside that of bytes can be set, by their names in a request."""
    skills = {"limit_inodes": HasInodeLimits, "soft_limit_bytes": HasSoftLimits}
    return [name for name, kind in skills.items() if backend.skill(kind) is not None]


def set_inode_limit(backend: Backend, scope: QuotaScope, limit_inodes: int | None) -> None:
    """Set or remove the limit of inodes, as `HasInodeLimits.set_inode_limit` does."""
    skilled(backend, HasInodeLimits).set_inode_limit(scope, limit_inodes)


def set_soft_limit(backend: Backend, scope: QuotaScope, limit_bytes: int | None) -> None:
    """Set or remove the soft limit, as `HasSoftLimits.set_soft_limit` does."""
    skilled(backend, HasSoftLimits).set_soft_limit(scope, limit_bytes)


def unset_limit(backend: Backend, scope: QuotaScope) -> None:
    """Remove the limit of a quota scope, as `Backend.unset_limit` does."""
    backend.unset_limit(scope)


def create_vfolder(
    backend: Backend, vfolder: VFolderId, mode: int, limit_bytes: int | None, *, automatic: bool
) -> None:
    """Make an empty vfolder; with `automatic` also its missing scope, with a first limit.

    Raises:
        QuotaScopeNotFound, VFolderExists: as `Backend.create_vfolder`.
    """
    access_files.drop(backend, vfolder)
    try:
        backend.create_vfolder(vfolder, mode)
    except QuotaScopeNotFound:
        if not automatic or vfolder.scope is None:
            raise
        with suppress(QuotaScopeExists):  # another request made it for another vfolder
            backend.create_scope(vfolder.scope, limit_bytes)
        backend.create_vfolder(vfolder, mode)


def exists(backend: Backend, vfolder: VFolderId) -> bool:
    """Return whether the vfolder exists."""
    try:
        backend.check_vfolder(vfolder)
    except VFolderNotFound:
        return False
    return True


def mount_path(backend: Backend, vfolder: VFolderId) -> str:
    """Return the path of a vfolder on this node, as `Backend.vfolder_path` does.

    Raises:
        VolumeUnavailable: the path leads to something else now.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is not None:
        with mounted.root():
            pass
    return str(backend.vfolder_path(vfolder))


def fast_usage(backend: Backend, vfolder: VFolderId) -> TreeUsage | None:
    """Return what the storage system itself knows of a vfolder's size; None when it does not."""
    counter = backend.skill(HasFastUsage)
    return counter.fast_usage(vfolder) if counter else None


# -- In a vfolder ----------------------------------------------------------------------------------
def check_inside(root: int, path: VFolderPath) -> None:
    """Check that a path stays in the vfolder; it need not exist.

    Raises:
        PathEscape: the path leads out.
    """
    try:
        paths.stat_beneath(root, path)
    except EntryNotFound:
        return


def check_free(root: int, path: VFolderPath) -> None:
    """Check that no entry has a path.

    Raises:
        EntryExists: an entry has it.
        PathEscape: the path leads out.
    """
    with suppress(EntryNotFound):
        paths.stat_beneath(root, path, follow=False)
        raise EntryExists("An entry of that name is there; choose a new name.")


def read_piece(root: int, path: VFolderPath, offset: int, size: int, inode: int = 0) -> Piece:
    """Return at most `size` bytes of a regular file; with `inode`, of that file only.

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
    """Open a job's report and return the descriptor; None when there is none."""
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
    """Return at most `size` bytes of a job's report; None when there is none."""
    descriptor = open_report(backend, scope, str(UUID(job)))
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def _named(*operations: Operation) -> dict[str, Operation]:
    return {name_of(operation): operation for operation in operations}


def name_of(operation: Operation) -> str:
    """Return the name of an operation, as nodes send it to one another."""
    return f"{operation.__module__}.{operation.__qualname__}"


#: Operations that take a backend first.
ON_VOLUME = _named(
    hardware,
    capacity,
    performance,
    reflinks,
    uses_xcp,
    create_scope,
    describe_scope,
    set_limit,
    further_limits,
    set_inode_limit,
    set_soft_limit,
    unset_limit,
    create_vfolder,
    exists,
    mount_path,
    fast_usage,
    read_report,
    metadata.read,
    metadata.write,
    access_files.read,
    access_files.read_trashed,
    access_files.locate,
    access_files.find,
    access_files.replace,
    access_files.read_subject,
    access_files.replace_subject,
    access_files.page,
    access_files.subjects,
    scope_records.records_of_scope,
    quota_views.scope_views,
    quota_views.vfolder_view,
    quota_views.follow_vfolder_limit,
    quota_views.follow_total,
    entries.remove_entries,
    snapshots.supported,
    snapshots.stay_with_directory,
    snapshot_content.list_snapshot,
    trash.kept,
    trash.needed,
    trash.restorable,
    entry_trash.supported,
    entry_trash.removed_entries,
    entry_trash.taken,
    entry_trash.check_kept,
    staging.begin,
)
#: Operations that take the descriptor of a vfolder's root first.
IN_VFOLDER = _named(
    check_inside,
    check_free,
    read_piece,
    entries.make_directory,
    entries.rename,
    entries.move,
    entries.relocate,
    listing.list_directory,
    listing.list_below,
    listing.list_named,
    listing.describe_entry,
    quick_usage.count,
    search.search,
)
