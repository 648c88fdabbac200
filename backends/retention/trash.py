"""The trash of a quota scope: vfolders renamed away, each with a note of what it was.

    <scope>/.vfolder/trash/<job id>        the tree, whole until its purge begins
    <scope>/.vfolder/trash/<job id>.note   whose it was, until when it is kept

A tree without a note is nobody's to restore: its purge is under way, or is the sweep's.
"""

import os
from contextlib import suppress
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from backends.quota import soft
from core.names import QuotaScope, VFolderId, moment

#: Ends the name of a note.
NOTE_SUFFIX = ".note"
_FILE_MODE = 0o600
_SIZE_MAX = 4096


class TrashRecord(Struct, frozen=True, kw_only=True):
    """What is known of a vfolder in the trash; moments are seconds of the epoch."""

    #: The job that deleted it, which names it in the trash.
    id: str
    vfolder: str
    deleted_at: float
    expires_at: float
    #: The length of its files, once they were counted.
    size_bytes: int | None = None
    entries: int | None = None
    #: Bytes are being removed: it cannot be restored any more.
    purging: bool = False

    def document(self) -> dict[str, object]:
        """What callers see."""
        return {
            "id": self.id,
            "vfolder": self.vfolder,
            "deleted_at": moment(self.deleted_at),
            "expires_at": moment(self.expires_at),
            "size_bytes": self.size_bytes,
            "entries": self.entries,
            "restorable": not self.purging,
        }


def clock(room: int) -> float:
    """The file system's own time: that of the nodes may differ. Costs one write of an inode."""
    os.utime(room)
    return os.fstat(room).st_mtime


def keep(room: int, note: TrashRecord) -> None:
    """Write a note durably; the old text or the new is there whenever the power fails."""
    name = note.id + NOTE_SUFFIX
    draft = f"{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(draft, flags, _FILE_MODE, dir_fd=room)
    try:
        os.write(fd, msgspec.json.encode(note))
        os.fsync(fd)
    finally:
        os.close(fd)
    descriptors.give_on(draft, room)
    os.rename(draft, name, src_dir_fd=room, dst_dir_fd=room)
    os.fsync(room)


def find(room: int, trash_id: str) -> TrashRecord | None:
    """The note of a tree in the trash; None when there is none, or none that can be read."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(trash_id + NOTE_SUFFIX, flags, dir_fd=room)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(fd, _SIZE_MAX), type=TrashRecord)
    except msgspec.MsgspecError:
        return None
    finally:
        os.close(fd)


def forget(room: int, trash_id: str) -> None:
    """Remove a note; absent is fine."""
    with suppress(FileNotFoundError):
        os.unlink(trash_id + NOTE_SUFFIX, dir_fd=room)
        os.fsync(room)


def notes(room: int) -> list[TrashRecord]:
    """The notes whose tree is there, newest first."""
    names = set(os.listdir(room))
    ids = [name.removesuffix(NOTE_SUFFIX) for name in names if name.endswith(NOTE_SUFFIX)]
    found = [find(room, trash_id) for trash_id in ids if trash_id in names]
    return sorted((n for n in found if n), key=lambda n: (n.deleted_at, n.id), reverse=True)


def in_scope(root: int, scope: QuotaScope | None) -> list[TrashRecord]:
    """What the trash of a scope holds, newest first; costs a listing and a small read for each."""
    try:
        with descriptors.opened(room_of(scope), root) as room:
            return notes(room)
    except (FileNotFoundError, NotADirectoryError):
        return []


def newest(root: int, vfolder: VFolderId, trash_id: str | None = None) -> TrashRecord | None:
    """The youngest deletion of a vfolder that can be restored, or the named one; None: no such."""
    wanted = str(vfolder)
    for note in in_scope(root, vfolder.scope):
        if note.vfolder == wanted and not note.purging and trash_id in (None, note.id):
            return note
    return None


def kept(backend: Backend, scope: QuotaScope) -> list[TrashRecord]:
    """What the trash of a scope holds, newest first.

    Raises:
        QuotaScopeNotFound: there is no such scope.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return []
    with mounted.open_scope(scope), mounted.root() as root:
        return in_scope(root, scope)


def restorable(backend: Backend, vfolder: VFolderId, trash_id: str | None) -> TrashRecord | None:
    """What a restore would bring back; None when there is nothing."""
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return None
    with mounted.root() as root:
        return newest(root, vfolder, trash_id)


def needed(backend: Backend, vfolder: VFolderId, trash_id: str | None) -> int | None:
    """The room a restore needs: none where the trash counts already; None when it is unknown."""
    if soft.soft_of(backend) is None:
        return 0
    note = restorable(backend, vfolder, trash_id)
    return note.size_bytes if note else None


def room_of(scope: QuotaScope | None) -> PurePosixPath:
    """The directory of a scope's trash, relative to the volume."""
    return layout.area(scope, layout.TRASH)
