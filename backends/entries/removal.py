"""Remove entries while somebody waits: a link itself, a file, or a directory by one rename.

A directory goes into the trash of its quota scope, so it is gone at once however much it holds;
a small one is removed there right away, the rest of a big one by the sweep.
"""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from uuid import uuid4

from backends.base import Backend, MountedBackend
from backends.entries import entries
from backends.fs import descriptors, entry_errors, layout, paths
from backends.quota import quick_usage, soft
from core.errors import EntryNotFound, Unsupported
from core.names import VFolderId, VFolderPath

#: A directory in the trash gets this much attention before it is left to the sweep.
ENTRIES_MAX = 10_000
SECONDS_MAX = 2.0


def remove_entries(
    backend: Backend, vfolder: VFolderId, named: Sequence[VFolderPath], *, recursive: bool
) -> None:
    """Remove entries; absent ones and, without `recursive`, directories are skipped.

    Nothing is removed when one of the paths is not allowed.

    Raises:
        EntryRefused: the vfolder's root is among them.
        VFolderNotFound: no such vfolder.
        PathEscape, EntryRefused: also from the file system; what came before is removed.
    """
    for path in named:
        entries.check_removable(path)
    trashed: list[PurePosixPath] = []
    counts = soft.is_counted(backend, vfolder.scope)
    freed = 0
    try:
        with backend.open_vfolder(vfolder) as root:
            for path in named:
                with entry_errors(str(path)):
                    size_bytes = _size(root, path) if counts else 0
                    if _remove(root, path, recursive=recursive):
                        trashed.append(_to_trash(backend, vfolder, root, path))
                    freed += size_bytes
        for place in trashed:
            freed += _weigh(backend, place) if counts else 0
            _empty(backend, place)
    finally:
        soft.settle(backend, vfolder.scope, str(uuid4()), -freed)


def _size(root: int, path: VFolderPath) -> int:
    try:
        with paths.parent_beneath(root, path) as (parent, name):
            return soft.size_of(name, parent)
    except EntryNotFound:
        return 0


def _weigh(backend: Backend, place: PurePosixPath) -> int:
    """The length of the files in a directory in the trash; a big one is left to the rescan."""
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return 0
    with mounted.root() as volume, descriptors.opened(place, volume) as top:
        found = quick_usage.count(top)
    return found.size_bytes if found else 0


def _remove(root: int, path: VFolderPath, *, recursive: bool) -> bool:
    """Unlink what is no directory; true for a directory that is to go."""
    try:
        with paths.parent_beneath(root, path) as (parent, name):
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return recursive
            os.unlink(name, dir_fd=parent)
    except EntryNotFound:
        return False
    return False


def _to_trash(backend: Backend, vfolder: VFolderId, root: int, path: VFolderPath) -> PurePosixPath:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume removes no directories here; ask for a job.")
    place = layout.trash(vfolder.scope, str(uuid4()))
    with (
        mounted.root() as volume,
        descriptors.made(place.parent, volume, descriptors.HIDDEN_MODE) as trash,
        paths.parent_beneath(root, path) as (parent, name),
    ):
        descriptors.rename_noreplace(name, parent, place.name, trash)
    return place


def _empty(backend: Backend, place: PurePosixPath) -> None:
    """Remove a directory in the trash as far as the budget goes."""
    deadline = time.monotonic() + SECONDS_MAX
    left = ENTRIES_MAX
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return
    try:
        with mounted.root() as volume, descriptors.opened(place.parent, volume) as trash:
            for _, directories, files, current in os.fwalk(place.name, topdown=False, dir_fd=trash):
                left -= len(directories) + len(files)
                if left < 0 or time.monotonic() > deadline:
                    return
                for name in files:
                    os.unlink(name, dir_fd=current)
                for name in directories:
                    _drop(name, current)
            os.rmdir(place.name, dir_fd=trash)
    except (OSError, RecursionError):  # odd or very deep trees are the sweep's
        return


def _drop(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:  # a link to a directory
        os.unlink(name, dir_fd=parent)
