"""The directories of uploads: the hidden one of their bytes, and those they are published into."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import PurePosixPath

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import Upload

_PATHS_KNOWN = 1024


@contextmanager
def upload_directory(backend: Backend, upload: Upload, *, make: bool = False) -> Iterator[int]:
    """Open the hidden directory that holds an upload's bytes.

    Raises:
        Unsupported: the volume takes no uploads.
        OSError: the directory does not exist, and `make` is false.
    """
    if make:
        with (
            root_of(backend) as root,
            descriptors.made(_path(upload.vfolder), root, descriptors.HIDDEN_MODE) as directory,
        ):
            yield directory
        return
    directory = open_upload_directory(backend, upload)
    try:
        yield directory
    finally:
        os.close(directory)


def open_upload_directory(backend: Backend, upload: Upload) -> int:
    """Open the directory of `upload_directory`, which must exist; the caller closes it."""
    with root_of(backend) as root:
        return descriptors.open_directory(_path(upload.vfolder), root)


def root_of(backend: Backend) -> AbstractContextManager[int]:
    """Open the root of a volume that takes uploads.

    Raises:
        Unsupported: the volume is no mounted directory.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume takes no uploads.")
    return mounted.root()


@lru_cache(_PATHS_KNOWN)
def _path(vfolder: str) -> PurePosixPath:
    """Cached, since every piece of a file needs the same path."""
    return layout.area(VFolderId.parse(vfolder).scope, layout.UPLOADS)


@contextmanager
def parents(target: VFolderPath, top: int) -> Iterator[int]:
    """Open the directory of the target; make missing directories, each beneath its parent.

    Raises:
        OSError: ELOOP where a link is in the way, ENOTDIR where a file is.
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
        except NotADirectoryError:  # the kernel gives ENOTDIR for a link, too
            if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def give_to_job(root: int, scope: QuotaScope | None, upload_id: str, job: str) -> None:
    """Rename a complete upload to the archive of the job that unpacks it; repeating it is safe.

    From then on the file lives as long as the job, however long the job waits.

    Raises:
        OSError: the rename failed.
    """
    source, target = layout.upload(scope, upload_id), layout.archive(scope, job)
    try:
        with (
            descriptors.opened(source.parent, root) as uploads,
            descriptors.made(target.parent, root, descriptors.HIDDEN_MODE) as staging,
        ):
            descriptors.rename_new(source.name, uploads, target.name, staging)
    except FileNotFoundError:  # given to the job before
        return
