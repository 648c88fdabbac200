"""The trash of a quota scope: vfolders renamed away, and removed entries, each with a record.

    <scope>/.vfolder/trash/<job id>        the tree, complete until its purge begins
    <scope>/.vfolder/trash/<job id>.note   which vfolder it was, until when it is kept
    <scope>/.vfolder/trash/<job id>.access its access record (`access_files`), if it had one

A tree without a record cannot be restored: its purge is under way, or the sweep removes it.
"""

import os
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Literal

import msgspec
from msgspec import Struct

from backends.base import Backend, MountedBackend
from backends.fs import atomic, descriptors, layout
from backends.quota import soft
from core.names import QuotaScope, VFolderId, moment

#: Ends the name of a record.
NOTE_SUFFIX = ".note"


#: What a tree in the trash is: a vfolder, or entries of one (`backends.volumes.entry_trash`).
TrashContent = Literal["vfolder", "entries"]


class TrashRecord(Struct, frozen=True, kw_only=True):
    """The record of a tree in the trash; moments are seconds of the epoch."""

    #: The job that deleted it; also its name in the trash.
    id: str
    vfolder: str
    deleted_at: float
    expires_at: float
    #: The length of its files; None until they were counted.
    size_bytes: int | None = None
    entries: int | None = None
    #: Its bytes are being removed: it cannot be restored any more.
    purging: bool = False
    holds: TrashContent = "vfolder"

    def document(self) -> dict[str, object]:
        """Return the JSON document that callers see."""
        return {
            "id": self.id,
            "vfolder": self.vfolder,
            "deleted_at": moment(self.deleted_at),
            "expires_at": moment(self.expires_at),
            "size_bytes": self.size_bytes,
            "entries": self.entries,
            "restorable": not self.purging,
        }


def clock(directory: int) -> float:
    """Return the file system's own time; the clocks of nodes may differ. Writes one inode."""
    os.utime(directory)
    return os.fstat(directory).st_mtime


def keep(directory: int, record: TrashRecord) -> None:
    """Store a record durably; after a power failure the old or the new one is there."""
    name = record.id + NOTE_SUFFIX
    atomic.replace_file(directory, name, msgspec.json.encode(record), draft=f"{name}.new")


def find(directory: int, trash_id: str) -> TrashRecord | None:
    """Return the record of a tree in the trash; None when there is no readable one."""
    return atomic.read_record(directory, trash_id + NOTE_SUFFIX, TrashRecord)


def forget(directory: int, trash_id: str) -> None:
    """Remove a record, and what was known of access to the vfolder; missing ones are fine."""
    with suppress(FileNotFoundError):
        os.unlink(trash_id + layout.RECORD_SUFFIX, dir_fd=directory)
    with suppress(FileNotFoundError):
        os.unlink(trash_id + NOTE_SUFFIX, dir_fd=directory)
        os.fsync(directory)


def records(directory: int) -> list[TrashRecord]:
    """Return the records whose tree exists, newest first."""
    names = set(os.listdir(directory))
    ids = [name.removesuffix(NOTE_SUFFIX) for name in names if name.endswith(NOTE_SUFFIX)]
    readable = [find(directory, trash_id) for trash_id in ids if trash_id in names]
    return sorted((r for r in readable if r), key=lambda r: (r.deleted_at, r.id), reverse=True)


def in_scope(root: int, scope: QuotaScope | None) -> list[TrashRecord]:
    """Return the records of a scope, newest first; costs a listing and a small read for each."""
    try:
        with descriptors.opened(directory_of(scope), root) as directory:
            return records(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def newest(root: int, vfolder: VFolderId, trash_id: str | None = None) -> TrashRecord | None:
    """Return the latest deletion of a vfolder that can be restored, or the named one; or None."""
    own = str(vfolder)
    for record in _vfolders(root, vfolder.scope):
        if record.vfolder == own and not record.purging and trash_id in (None, record.id):
            return record
    return None


def _vfolders(root: int, scope: QuotaScope | None) -> list[TrashRecord]:
    return [record for record in in_scope(root, scope) if record.holds == "vfolder"]


def directory_of(scope: QuotaScope | None) -> PurePosixPath:
    """Return the directory of a scope's trash, relative to the volume."""
    return layout.area(scope, layout.TRASH)


# -- On any volume ---------------------------------------------------------------------------------
def kept(backend: Backend, scope: QuotaScope) -> list[TrashRecord]:
    """Return the deleted vfolders in the trash of a scope, newest first.

    Raises:
        QuotaScopeNotFound: the scope does not exist.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return []
    with mounted.open_scope(scope), mounted.root() as root:
        return _vfolders(root, scope)


def restorable(backend: Backend, vfolder: VFolderId, trash_id: str | None) -> TrashRecord | None:
    """Return the record of what a restore would bring back; None when there is nothing."""
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return None
    with mounted.root() as root:
        return newest(root, vfolder, trash_id)


def needed(backend: Backend, vfolder: VFolderId, trash_id: str | None) -> int | None:
    """Return the bytes that a restore adds to its scope; 0 where the trash counts, or None."""
    if soft.soft_of(backend) is None:
        return 0
    record = restorable(backend, vfolder, trash_id)
    return record.size_bytes if record else None
