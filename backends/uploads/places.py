"""Where uploads lie: their hidden room, the directories they are published into."""

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import PurePosixPath

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from core.errors import PathEscape, Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import Upload

_PATHS_KNOWN = 1024


@contextmanager
def room_of(backend: Backend, upload: Upload, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the room in which an upload's bytes lie.

    Raises:
        Unsupported: the volume has none.
        OSError: it is not there, and was not to be made.
    """
    if make:
        with (
            _root_of(backend) as root,
            descriptors.made(_path(upload.vfolder), root, descriptors.HIDDEN_MODE) as room,
        ):
            yield room
        return
    room = open_room(backend, upload)
    try:
        yield room
    finally:
        os.close(room)


def open_room(backend: Backend, upload: Upload) -> int:
    """As `room_of`, of one that is there; the caller closes it."""
    with _root_of(backend) as root:
        return descriptors.open_directory(_path(upload.vfolder), root)


def _root_of(backend: Backend) -> AbstractContextManager[int]:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume takes no uploads.")
    return mounted.root()


@lru_cache(_PATHS_KNOWN)
def _path(vfolder: str) -> PurePosixPath:
    """Every piece of a file asks for the same."""
    return layout.area(VFolderId.parse(vfolder).scope, layout.UPLOADS)


@contextmanager
def parents(target: VFolderPath, top: int) -> Iterator[int]:
    """The directory of the target, made if need be, each step beneath its parent.

    Raises:
        PathEscape: a link or a file is in the way.
        OSError: the file system refuses.
    """
    current = os.dup(top)
    try:
        for part in target.parent.parts:
            below = _step(part, current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _step(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(descriptors.RACE_TRIES):
        try:
            return os.open(name, flags, dir_fd=parent)
        except NotADirectoryError:
            raise PathEscape(
                "A link or a file is in the way where a directory should be."
            ) from None
        except FileNotFoundError:
            try:
                os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=parent)
            except FileExistsError:
                continue
            os.fsync(parent)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def give_to_job(root: int, scope: QuotaScope | None, upload_id: str, job: str) -> None:
    """Rename a whole upload to the archive of the job that unpacks it; done already is fine.

    From then on it lives as long as the job, however long that waits. Raises `OSError`.
    """
    source, target = layout.upload(scope, upload_id), layout.archive(scope, job)
    try:
        with (
            descriptors.opened(source.parent, root) as room,
            descriptors.made(target.parent, root, descriptors.HIDDEN_MODE) as staging,
        ):
            descriptors.rename_new(source.name, room, target.name, staging)
    except FileNotFoundError:
        return
