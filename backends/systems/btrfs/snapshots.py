"""Snapshots of vfolders on btrfs: read-only subvolumes in `.vfolder/snapshots/<vfolder>/`.

A vfolder is a plain directory in the subvolume of its quota scope. So the snapshot is one of the
whole scope, and the vfolder is found in it. The other entries of the scope are never shown, but
they occupy space too. A vfolder that is a subvolume itself has a snapshot of its own. Snapshots
count for no scope.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from backends.base import Snapshot
from backends.fs import descriptors, layout
from backends.retention import SnapshotExists, SnapshotNotFound, check_name
from backends.systems.btrfs import subvolumes
from core.errors import Unsupported
from core.names import VFolderId

#: Ends the name of a snapshot of a whole scope; snapshot names may not contain it.
_SCOPE = "@"


def create(root: int, top: int, vfolder: VFolderId, name: str) -> Snapshot:
    """Make a snapshot of the vfolder that is open at `top`."""
    check_name(name)
    with (
        descriptors.made(layout.snapshots(vfolder), root, descriptors.HIDDEN_MODE) as room,
        _subvolume(root, top, vfolder) as (source, end),
    ):
        if _found(room, name):
            raise SnapshotExists(f"The vfolder {vfolder} has a snapshot {name} already.")
        try:
            subvolumes.snapshot(source, name + end, room)
        except FileExistsError:  # by another process at the same moment
            raise SnapshotExists(f"The vfolder {vfolder} has a snapshot {name} already.") from None
        return _told(room, name + end)


def known(root: int, vfolder: VFolderId) -> list[Snapshot]:
    """Return all snapshots of a vfolder, oldest first."""
    try:
        with descriptors.opened(layout.snapshots(vfolder), root) as room:
            entries = sorted(os.listdir(room), key=lambda entry: _number(room, entry))
            return [_told(room, entry) for entry in entries]
    except FileNotFoundError:
        return []


def delete(root: int, vfolder: VFolderId, name: str) -> None:
    """Delete a snapshot; the kernel frees its space in the background."""
    with _room(root, vfolder, name) as (room, entry):
        try:
            subvolumes.destroy(entry, room)
        except FileNotFoundError:  # by another process at the same moment
            raise _absent(vfolder, name) from None


@contextmanager
def opened(root: int, vfolder: VFolderId, name: str) -> Iterator[int]:
    """Open the tree of a snapshot."""
    with _room(root, vfolder, name) as (room, entry):
        path = PurePosixPath(entry)
        if entry.endswith(_SCOPE):
            path /= _below(vfolder)
        with descriptors.opened(path, room) as top:
            yield top


def forget(root: int, vfolder: VFolderId) -> None:
    """Delete all snapshots of a vfolder."""
    try:
        with descriptors.opened(layout.snapshots(vfolder), root) as room:
            for entry in os.listdir(room):
                subvolumes.destroy(entry, room)
    except FileNotFoundError:
        return
    descriptors.prune(layout.snapshots(vfolder), root, 1)


@contextmanager
def _room(root: int, vfolder: VFolderId, name: str) -> Iterator[tuple[int, str]]:
    check_name(name)
    try:
        room = descriptors.open_directory(layout.snapshots(vfolder), root)
    except FileNotFoundError:
        raise _absent(vfolder, name) from None
    try:
        entry = _found(room, name)
        if entry is None:
            raise _absent(vfolder, name)
        yield room, entry
    finally:
        os.close(room)


def _found(room: int, name: str) -> str | None:
    for entry in (name, name + _SCOPE):
        if descriptors.exists(PurePosixPath(entry), room):
            return entry
    return None


def _number(room: int, entry: str) -> int:
    """Return the id of a subvolume: ids always grow, unlike clocks, which can be set back."""
    with descriptors.opened(entry, room) as top:
        return subvolumes.tree_of(top)


def _told(room: int, entry: str) -> Snapshot:
    with descriptors.opened(entry, room) as top:
        return Snapshot(entry.removesuffix(_SCOPE), subvolumes.created_at(top))


@contextmanager
def _subvolume(root: int, top: int, vfolder: VFolderId) -> Iterator[tuple[int, str]]:
    """Return the subvolume to snapshot, and the ending of the snapshot's name."""
    if subvolumes.id_of(top):
        yield top, ""
        return
    directory = vfolder.scope.directory if vfolder.scope else "."
    with descriptors.opened(directory, root) as scope:
        if not subvolumes.id_of(scope):
            raise Unsupported(
                "Only a vfolder in a quota scope that is a subvolume can be kept; this one is in a "
                "plain directory.",
            )
        yield scope, _SCOPE


def _below(vfolder: VFolderId) -> PurePosixPath:
    path = PurePosixPath(vfolder.directory)
    return path.relative_to(vfolder.scope.directory) if vfolder.scope else path


def _absent(vfolder: VFolderId, name: str) -> SnapshotNotFound:
    return SnapshotNotFound(f"The vfolder {vfolder} has no snapshot {name}.")
