"""Acts on single entries of a vfolder, by a descriptor of its root.

All act on a link itself, never on what it points at; links before the last part are followed
inside the vfolder only. What the file system refuses is `EntryRefused` with `errno` and the paths
of the request; a full, slow or broken storage is an error of its own.
"""

import errno
import os
import stat

from backends.fs import descriptors, entry_errors, paths
from core.errors import EntryRefused, InvalidName, PathEscape, StorageError
from core.names import VFolderPath

#: Directories that people make (umask applies).
DIRECTORY_MODE = 0o755


def make_directory(
    root: int, path: VFolderPath, *, parents: bool = True, exist_ok: bool = False
) -> None:
    """Make a directory; with `parents` also those above it.

    Raises:
        EntryRefused: it exists (unless `exist_ok` and it is a directory), or a parent is missing.
    """
    with entry_errors(str(path)):
        if path.is_root:
            if exist_ok:
                return
            raise EntryRefused("The vfolder itself exists.", errno=errno.EEXIST, paths=["."])
        if parents:
            os.close(paths.make_directories(root, path.parent, DIRECTORY_MODE))
        with paths.parent_beneath(root, path) as (parent, name):
            try:
                os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
            except FileExistsError:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not (exist_ok and stat.S_ISDIR(found.st_mode)):
                    raise


def rename(root: int, path: VFolderPath, new_name: str) -> None:
    """Give an entry another name in the same directory.

    A file may take the place of a file; nothing ever takes the place of a directory.

    Raises:
        InvalidName: `new_name` is no single name.
        EntryRefused: no such entry, or a directory has the new name.
    """
    target = VFolderPath.parse(new_name)
    if len(target.parts) != 1 or target.name != new_name:
        raise InvalidName("A new name is one name, without '/'.")
    if path.is_root:
        raise EntryRefused("The vfolder itself is not renamed.", errno=errno.EBUSY, paths=["."])
    move(root, path, path.parent / target, into_directory=False)


def move(
    root: int, source: VFolderPath, target: VFolderPath, *, into_directory: bool = True
) -> None:
    """Move an entry; a target that is a directory takes it inside, as mv(1) does.

    A file may take the place of a file; nothing ever takes the place of a directory.

    Raises:
        EntryRefused: no such entry, no such directory, or a directory is in the way.
    """
    if source.is_root:
        raise EntryRefused("The vfolder itself is not moved.", errno=errno.EBUSY, paths=["."])
    with entry_errors(str(source), str(target)):
        if into_directory and _is_directory(root, target):
            target = target / VFolderPath((source.name,))
        if source == target:
            paths.stat_beneath(root, source, follow=False)
            return
        with (
            paths.parent_beneath(root, source) as (source_fd, source_name),
            paths.parent_beneath(root, target) as (target_fd, target_name),
        ):
            _rename(source_fd, source_name, target_fd, target_name)


def _is_directory(root: int, path: VFolderPath) -> bool:
    """Whether it is a directory, or a link to one inside the vfolder."""
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
    """rename(2), but never over a directory, not even an empty one."""
    try:
        found = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        descriptors.rename_noreplace(source, source_fd, target, target_fd)
        return
    here = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode) or stat.S_ISDIR(here.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    # Between the two the target may turn into a directory: rename(2) refuses that by itself.
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def check_removable(path: VFolderPath) -> None:
    """Refuse to remove the vfolder itself.

    Raises:
        EntryRefused: the path is its root.
    """
    if path.is_root:
        text = "The vfolder itself is not removed this way; use /folder/delete."
        raise EntryRefused(text, errno=errno.EBUSY, paths=[str(path)])
