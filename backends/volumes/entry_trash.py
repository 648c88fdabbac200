"""Removed entries in the trash of a quota scope: each has a number in place of its path.

    <scope>/.vfolder/trash/<job id>/<n>       an entry that the job removed
    <scope>/.vfolder/trash/<job id>/paths     the paths that the job was to remove: the n-th was <n>
    <scope>/.vfolder/trash/<job id>.note      whose entries they are, and until when they are kept

A tree in the trash without the file `paths` is a vfolder.
"""

import os
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from backends.base import Backend, MountedBackend
from backends.entries import HasObjects
from backends.fs import atomic, descriptors, paths, translated
from backends.retention import TrashRecord, trash
from core.errors import EntryNotFound, TrashNotFound
from core.names import VFolderId, VFolderPath

#: The name of the file with the paths; all other names are numbers.
PATHS = "paths"
#: Paths of one deletion that a list shows.
PATHS_SHOWN = 100


class RemovedEntries(Struct, frozen=True, kw_only=True):
    """What one job removed and what is still in the trash; moments are seconds of the epoch."""

    id: str
    deleted_at: float
    expires_at: float
    #: The length of the files; None until they were counted.
    size_bytes: int | None
    #: How many of the entries are still there, and the first of their former paths.
    count: int
    paths: list[str]


# -- The directory of one job ----------------------------------------------------------------------
def write_paths(directory: int, removed: Sequence[VFolderPath]) -> int:
    """Store the paths that a job is to remove; return the bytes of the file."""
    text = msgspec.json.encode([os.fsencode(str(path)) for path in removed])
    atomic.replace_file(directory, PATHS, text, draft=f"{PATHS}.new")
    return len(text)


def numbers(directory: int) -> list[int]:
    """Return the numbers of the entries that are in the directory of a job."""
    return sorted(int(name) for name in os.listdir(directory) if name.isdigit())


def all_paths(directory: int) -> list[VFolderPath]:
    """Return the paths that a job is to remove, by their numbers.

    Raises:
        FileNotFoundError: the tree has no paths, so it holds no entries.
    """
    fd = os.open(PATHS, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    with open(fd, "rb") as file:
        texts = msgspec.json.decode(file.read(), type=list[bytes])
    return [VFolderPath.parse(os.fsdecode(text)) for text in texts]


def former_paths(directory: int) -> list[tuple[int, VFolderPath]]:
    """Return the entries that are there, each with its former path; a directory before what it had.

    Raises:
        FileNotFoundError: the tree has no paths, so it holds no entries.
    """
    known = all_paths(directory)
    found = [(number, known[number]) for number in numbers(directory) if number < len(known)]
    return sorted(found, key=lambda one: (len(one[1].parts), one[0]))


# -- On any volume ---------------------------------------------------------------------------------
def supported(backend: Backend) -> bool:
    """Return whether removed entries can be kept: a bucket keeps none."""
    return backend.skill(MountedBackend) is not None and backend.skill(HasObjects) is None


def removed_entries(backend: Backend, vfolder: VFolderId) -> list[RemovedEntries]:
    """Return what is in the trash of the entries of a vfolder, the newest deletion first.

    Costs a small read for each deletion in the scope, and a listing for each of the vfolder.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return []
    with translated(), mounted.root() as root:
        kept = [one for one in trash.in_scope(root, vfolder.scope) if _is_of(one, vfolder)]
        return [_described(root, vfolder, one) for one in kept]


def taken(backend: Backend, vfolder: VFolderId, trash_id: str) -> list[str]:
    """Return the first paths of removed entries that other entries have now.

    Raises:
        TrashNotFound: the trash has no such entries of the vfolder, or their purge began.
        VFolderNotFound: the vfolder does not exist.
    """
    check_kept(backend, vfolder, trash_id)
    mounted = _mounted(backend)
    with translated(), mounted.root() as root, mounted.open_vfolder(vfolder) as top:
        with descriptors.opened(_tree(vfolder, trash_id), root) as directory:
            entries = former_paths(directory)
        found = [str(path) for _, path in entries if _exists(top, path)]
    return found[:PATHS_SHOWN]


def check_kept(backend: Backend, vfolder: VFolderId, trash_id: str) -> None:
    """Refuse a deletion of which the trash has no entries.

    Raises:
        TrashNotFound: the trash has no such entries of the vfolder, or their purge began.
    """
    with translated(), _mounted(backend).root() as root:
        known = {one.id for one in trash.in_scope(root, vfolder.scope) if _is_of(one, vfolder)}
    if trash_id not in known:
        raise TrashNotFound("The trash has no such entries of the vfolder.")


def _mounted(backend: Backend) -> MountedBackend:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise TrashNotFound("This volume keeps no removed entries.")
    return mounted


def _is_of(record: TrashRecord, vfolder: VFolderId) -> bool:
    own = record.vfolder == str(vfolder)
    return own and record.holds == "entries" and not record.purging


def _tree(vfolder: VFolderId, trash_id: str) -> PurePosixPath:
    return trash.directory_of(vfolder.scope) / trash_id


def _described(root: int, vfolder: VFolderId, record: TrashRecord) -> RemovedEntries:
    try:
        with descriptors.opened(_tree(vfolder, record.id), root) as directory:
            entries = former_paths(directory)
    except FileNotFoundError:  # its restore has just ended
        entries = []
    return RemovedEntries(
        id=record.id,
        deleted_at=record.deleted_at,
        expires_at=record.expires_at,
        size_bytes=record.size_bytes,
        count=len(entries),
        paths=[str(path) for _, path in entries[:PATHS_SHOWN]],
    )


def _exists(top: int, path: VFolderPath) -> bool:
    try:
        with paths.parent_beneath(top, path) as (parent, name):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
    except EntryNotFound:
        return False
    return True
