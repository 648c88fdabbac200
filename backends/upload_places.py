"""Where uploads lie: their hidden room, the directories they are published into."""

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from backends import descriptors, layout
from backends.base import Backend
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import Upload


@runtime_checkable
class HasRoot(Protocol):
    """Backends whose volume is a mounted directory."""

    def root(self) -> AbstractContextManager[int]:
        """A directory descriptor of the volume."""


@contextmanager
def room_of(backend: Backend, upload: Upload, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the room in which an upload's bytes lie.

    Raises:
        Unsupported: the volume has none.
        OSError: it is not there, and was not to be made.
    """
    path = layout.upload(VFolderId.parse(upload.vfolder).scope, upload.id).parent
    if not isinstance(backend, HasRoot):
        raise Unsupported("This volume takes no uploads.")
    with backend.root() as root:
        if make:
            with descriptors.made(path, root, descriptors.HIDDEN_MODE) as room:
                yield room
        else:
            with descriptors.opened(path, root) as room:
                yield room


@contextmanager
def parents(target: VFolderPath, top: int) -> Iterator[int]:
    """The directory of the target, made if need be, each step beneath its parent.

    Raises:
        OSError: ENOTDIR or ELOOP where a link or a file is in the way.
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
