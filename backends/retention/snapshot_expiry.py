"""Until when snapshots are kept: one small file each beside the data, in the vfolder's quota scope.

    <scope>/.vfolder/retention/<vfolder hex>.<name>

A snapshot without one is kept until somebody deletes it.
"""

import os
from contextlib import suppress
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from backends.base import Backend, HasSnapshots
from backends.fs import descriptors, layout
from backends.retention import trash
from core.names import QuotaScope, VFolderId

_FILE_MODE = 0o600
_SIZE_MAX = 4096
#: A draft that a death left; such a name is no vfolder's.
_DRAFT = "draft."


class KeptSnapshot(Struct, frozen=True):
    """A snapshot that is kept until a moment (seconds of the epoch)."""

    vfolder: str
    name: str
    expires_at: float


def supported(backend: Backend) -> bool:
    """Whether the volume keeps snapshots."""
    return backend.skill(HasSnapshots) is not None and "snapshot" not in backend.lacking()


def keep(root: int, vfolder: VFolderId, name: str, keep_seconds: float) -> float:
    """Note how long a snapshot is kept from now, by the file system's clock; until when."""
    own = f"{vfolder.id.hex}.{name}"
    with descriptors.made(_room(vfolder.scope), root, descriptors.HIDDEN_MODE) as room:
        ends = trash.clock(room) + keep_seconds
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(_DRAFT + own, flags, _FILE_MODE, dir_fd=room)
        try:
            os.write(fd, msgspec.json.encode(KeptSnapshot(str(vfolder), name, ends)))
            os.fsync(fd)
        finally:
            os.close(fd)
        descriptors.give_on(_DRAFT + own, room)
        os.rename(_DRAFT + own, own, src_dir_fd=room, dst_dir_fd=room)
        os.fsync(room)
    return ends


def forget(root: int, vfolder: VFolderId, name: str) -> None:
    """A snapshot is gone; absent is fine."""
    with suppress(FileNotFoundError), descriptors.opened(_room(vfolder.scope), root) as room:
        os.unlink(f"{vfolder.id.hex}.{name}", dir_fd=room)


def kept(root: int, scope_directory: str) -> list[KeptSnapshot]:
    """All that a scope keeps for a time, the first to end first."""
    try:
        room = descriptors.open_directory(
            layout.scope_area(scope_directory, layout.RETENTION), root
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        names = [name for name in os.listdir(room) if not name.startswith(_DRAFT)]
        found = [_read(room, name) for name in names]
    finally:
        os.close(room)
    return sorted((one for one in found if one), key=lambda one: one.expires_at)


def expired(root: int, scope_directory: str) -> list[KeptSnapshot]:
    """Those whose time is over."""
    found = kept(root, scope_directory)
    if not found:
        return []
    with descriptors.opened(layout.scope_area(scope_directory, layout.RETENTION), root) as room:
        at = trash.clock(room)
    return [one for one in found if one.expires_at <= at]


def _read(room: int, name: str) -> KeptSnapshot | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=room)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(fd, _SIZE_MAX), type=KeptSnapshot)
    except msgspec.MsgspecError:
        return None
    finally:
        os.close(fd)


def _room(scope: QuotaScope | None) -> PurePosixPath:
    return layout.area(scope, layout.RETENTION)
