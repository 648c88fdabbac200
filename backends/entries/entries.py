"""Changes of single entries of a vfolder: make, rename, move, remove.

Every change applies to a link itself, never to its target. Links before the last part of a path are
followed inside the vfolder only. A path that the file system refuses is `EntryRefused`, with
`errno` and the paths of the request. A full, slow or broken storage is an error of its own.
"""

import errno
import os
import stat
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath
from uuid import uuid4

from backends.base import Backend, MountedBackend, Owner
from backends.entries.object_tree import HasObjects
from backends.fs import descriptors, entry_errors, inheritance, layout, paths
from backends.quota import quick_usage, soft
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidName,
    PathEscape,
    StorageError,
    Unsupported,
)
from core.names import VFolderId, VFolderPath

#: The mode of directories that callers make (doors and workers set their umask).
DIRECTORY_MODE = 0o755
#: A removed directory that holds more entries, or takes longer, is left to the sweep.
REMOVED_ENTRIES_MAX = 10_000
REMOVAL_SECONDS_MAX = 2.0


def make_directory(
    root: int,
    path: VFolderPath,
    *,
    parents: bool = True,
    exist_ok: bool = False,
    owned_by_directory: bool = False,
) -> None:
    """Make a directory; with `parents` also the missing directories above it.

    With `owned_by_directory` each gets the owner of the directory that it is in.

    Raises:
        EntryRefused: it exists (unless `exist_ok` and it is a directory), or a parent is missing.
    """
    on_made = partial(
        inheritance.own_new_directory, owner=Owner("directory" if owned_by_directory else "service")
    )
    with entry_errors(str(path)):
        if path.is_root:
            if exist_ok:
                return
            raise EntryRefused("The vfolder itself exists.", errno=errno.EEXIST, paths=["."])
        if parents:
            make = partial(paths.make_directories, root, path.parent, DIRECTORY_MODE)
            os.close(make(on_made=on_made))
        with paths.parent_beneath(root, path) as (parent, name):
            try:
                os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
                on_made(name, parent)
            except FileExistsError:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not (exist_ok and stat.S_ISDIR(status.st_mode)):
                    raise


def rename(root: int, path: VFolderPath, new_name: str, *, replace: bool = True) -> None:
    """Rename an entry inside its directory.

    With `replace` a file may replace a file; nothing ever replaces a directory.

    Raises:
        InvalidName: `new_name` is more than one name.
        EntryRefused: the entry does not exist, or something has the new name that is not replaced.
    """
    target = VFolderPath.parse(new_name)
    if len(target.parts) != 1 or target.name != new_name:
        raise InvalidName("A new name is one name, without '/'.")
    if path.is_root:
        raise EntryRefused("The vfolder itself is not renamed.", errno=errno.EBUSY, paths=["."])
    move(root, path, path.parent / target, into_directory=False, replace=replace)


def relocate(root: int, source: VFolderPath, target: VFolderPath, *, replace: bool) -> None:
    """Give an entry this new path exactly; only with `replace` a file may replace a file.

    Raises:
        EntryExists: something has the path, and may not be replaced.
        EntryRefused: the entry or the target's directory does not exist, or it would move into
            itself.
    """
    if target.is_root:
        raise EntryExists("The vfolder itself has this path.", paths=["."])
    try:
        move(root, source, target, into_directory=False, replace=replace)
    except EntryRefused as error:
        if error.facts.get("errno") != errno.EEXIST:
            raise
        raise EntryExists("An entry of that name is there.", paths=[str(target)]) from None


def move(
    root: int,
    source: VFolderPath,
    target: VFolderPath,
    *,
    into_directory: bool = True,
    replace: bool = True,
) -> None:
    """Move an entry; into the target if that is a directory, as mv(1) does.

    With `replace` a file may replace a file; nothing ever replaces a directory.

    Raises:
        EntryRefused: the entry or the target's directory does not exist, the target is a directory,
            or the entry would move into itself. `paths` has the one that is wrong.
    """
    if source.is_root:
        raise EntryRefused("The vfolder itself is not moved.", errno=errno.EBUSY, paths=["."])
    with ExitStack() as opened:  # not nested: each error names its own path
        with entry_errors(str(source)):
            holder = paths.parent_beneath(root, source)
            source_fd, source_name = opened.enter_context(holder)
            os.stat(source_name, dir_fd=source_fd, follow_symlinks=False)
        with entry_errors(str(target)):
            if into_directory and _is_directory(root, target):
                target = target / VFolderPath((source.name,))
            if source == target:
                return
            with paths.parent_beneath(root, target) as (target_fd, target_name):
                rename_entry = _rename if replace else _rename_new
                rename_entry(source_fd, source_name, target_fd, target_name)


def _is_directory(root: int, path: VFolderPath) -> bool:
    """Return whether the path is a directory, or a link to one inside the vfolder."""
    if path.is_root:
        return True
    try:
        return stat.S_ISDIR(paths.stat_beneath(root, path).st_mode)
    except PathEscape:
        raise
    except StorageError as error:
        if error.facts.get("errno") in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise


def _rename(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Call rename(2), but never over a directory, not even an empty one."""
    try:
        existing = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        _rename_new(source_fd, source, target_fd, target)
        return
    moved = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
    if stat.S_ISDIR(existing.st_mode) or stat.S_ISDIR(moved.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    # Meanwhile the target may become a directory: rename(2) refuses that by itself.
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def _rename_new(source_fd: int, source: str, target_fd: int, target: str) -> None:
    try:
        descriptors.rename_noreplace(source, source_fd, target, target_fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise EntryRefused(  # rename(2): the new name lies below the old one
            "A directory cannot be moved into itself.", errno=errno.EINVAL, paths=[target]
        ) from error


# -- Removal ---------------------------------------------------------------------------------------
def remove_entries(
    backend: Backend, vfolder: VFolderId, targets: Sequence[VFolderPath], *, recursive: bool
) -> None:
    """Remove entries; missing ones and, without `recursive`, directories are skipped.

    A directory goes into the trash of its quota scope by one rename, so it disappears at once
    whatever its size. A small one is removed from there right away; the sweep removes the rest of
    a big one. Nothing is removed when one of the paths is not allowed.

    Raises:
        EntryRefused: the vfolder's root is among the targets.
        VFolderNotFound: the vfolder does not exist.
        PathEscape, EntryRefused: the file system refuses; the targets before are removed.
    """
    for path in targets:
        _check_removable(path)
    if objects := backend.skill(HasObjects):
        with soft.settled_removal(backend, vfolder) as freed:
            objects.tree(vfolder).remove(targets, recursive=recursive, on_removed=freed.append)
        return
    trashed: list[PurePosixPath] = []
    counts = soft.is_counted(backend, vfolder)
    since_ms = soft.removal_began(backend) if counts else None
    freed_bytes = 0
    try:
        with backend.open_vfolder(vfolder) as root:
            for path in targets:
                with entry_errors(str(path)):
                    size_bytes = _size(root, path) if counts else 0
                    if _remove(root, path, recursive=recursive):
                        trashed.append(_to_trash(backend, vfolder, root, path))
                    freed_bytes += size_bytes
        for tree in trashed:
            freed_bytes += _tree_size(backend, tree) if counts else 0
            _empty(backend, tree)
    finally:
        if freed_bytes:  # the mark lets the call be repeated while the store is away
            holder = str(uuid4())
            soft.settle(backend, vfolder, holder, -freed_bytes, since_ms=since_ms)


def _check_removable(path: VFolderPath) -> None:
    if path.is_root:
        text = "The vfolder itself is not removed this way; use /folder/delete."
        raise EntryRefused(text, errno=errno.EBUSY, paths=[str(path)])


def _size(root: int, path: VFolderPath) -> int:
    try:
        with paths.parent_beneath(root, path) as (parent, name):
            return soft.size_of(name, parent)
    except EntryNotFound:
        return 0


def _tree_size(backend: Backend, tree: PurePosixPath) -> int:
    """Return the length of the files of a tree in the trash; a big one is left to the rescan."""
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return 0
    with mounted.root() as volume, descriptors.opened(tree, volume) as top:
        sums = quick_usage.count(top)
    return sums.size_bytes if sums else 0


def _remove(root: int, path: VFolderPath, *, recursive: bool) -> bool:
    """Unlink a file or a link; return true for a directory that is to be removed."""
    try:
        with paths.parent_beneath(root, path) as (parent, name):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return recursive
            os.unlink(name, dir_fd=parent)
    except EntryNotFound:
        return False
    return False


def _to_trash(backend: Backend, vfolder: VFolderId, root: int, path: VFolderPath) -> PurePosixPath:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume removes no directories here; submit a job.")
    tree = layout.trash(vfolder.scope, str(uuid4()))
    with (
        mounted.root() as volume,
        descriptors.made(tree.parent, volume, descriptors.HIDDEN_MODE) as trash,
        paths.parent_beneath(root, path) as (parent, name),
    ):
        descriptors.rename_noreplace(name, parent, tree.name, trash)
    return tree


def _empty(backend: Backend, tree: PurePosixPath) -> None:
    """Remove a tree in the trash, within the limits of entries and time."""
    deadline = time.monotonic() + REMOVAL_SECONDS_MAX
    left = REMOVED_ENTRIES_MAX
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return
    try:
        with mounted.root() as volume, descriptors.opened(tree.parent, volume) as trash:
            for _, directories, files, current in os.fwalk(tree.name, topdown=False, dir_fd=trash):
                left -= len(directories) + len(files)
                if left < 0 or time.monotonic() > deadline:
                    return
                for name in files:
                    os.unlink(name, dir_fd=current)
                for name in directories:
                    _remove_directory(name, current)
            os.rmdir(tree.name, dir_fd=trash)
    except (OSError, RecursionError):  # the sweep removes odd or very deep trees
        return


def _remove_directory(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:  # a link to a directory
        os.unlink(name, dir_fd=parent)
