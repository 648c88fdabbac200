"""The directories of uploads: the hidden one of their bytes, and those they are published into.

A file has there what the file had that it replaces, or what any new file gets.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import PurePosixPath

from backends.base import Backend, Mount, MountedBackend, Owner
from backends.fs import descriptors, inheritance, layout
from backends.tree import AttributeSupport, read_xattrs
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import Upload

_log = logger(__name__)

_log = logger(__name__)

_PATHS_KNOWN = 1024
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a file that is replaced leaves of its mode: a write clears the set-id bits, too.
_MODE_KEPT = 0o1777
#: A write removes it from a file (capabilities(7)).
_CAPABILITY = "security.capability"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


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
def parents(target: VFolderPath, top: int, owner: Owner) -> Iterator[int]:
    """Open the directory of the target; make missing directories, each beneath its parent.

    Each inherits what its own directory gives, and belongs to the owner that the settings say.

    Raises:
        OSError: ELOOP where a link is in the way, ENOTDIR where a file is.
    """
    current = os.dup(top)
    try:
        for part in target.parent.parts:
            below = _step(part, current, owner)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


@contextmanager
def nearest_parent(target: VFolderPath, top: int) -> Iterator[int]:
    """Open the directory of the target, or the nearest one above it that exists."""
    current = os.dup(top)
    try:
        for part in target.parent.parts:
            try:
                below = os.open(part, _OPEN, dir_fd=current)
            except OSError:  # missing, or in the way: then `parents` refuses it
                break
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _step(name: str, parent: int, owner: Owner) -> int:
    for _ in range(descriptors.RACE_TRIES):
        try:
            return os.open(name, _OPEN, dir_fd=parent)
        except FileNotFoundError:
            try:
                inheritance.make_directory(name, parent, owner)
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


# -- What a file has under its name there ------------------------------------------------------
def prepare_file(descriptor: int, parent: int, name: str, mount: Mount) -> None:
    """Give a file the attributes that it has under a name of the directory `parent`.

    Those of the file that it replaces, or of any new file there. Costs three system calls.

    Raises:
        OSError: the file system refuses.
    """
    if not (mount.keeps_attributes and _keep_attributes(descriptor, parent, name)):
        inheritance.inherit_access(descriptor, parent, mount.owner)


def _keep_attributes(descriptor: int, parent: int, name: str) -> bool:
    """Give a file the mode, owner, ACL and xattrs of the file that has the name now.

    Return whether there is one. What this process may not read or set is not kept.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        return False
    inheritance.set_owner(descriptor, os.fstat(descriptor), status.st_uid, status.st_gid)
    xattrs = _xattrs(parent, name)
    if xattrs is not None and inheritance.ACL_ACCESS not in xattrs:
        _remove_acl(descriptor)
    os.fchmod(descriptor, status.st_mode & _MODE_KEPT)
    for key, value in (xattrs or {}).items():
        try:
            os.setxattr(descriptor, key, value)
        except OSError as error:
            if error.errno not in inheritance.REFUSED:
                raise
            _log.info("attribute of a replaced file not kept", attribute=key)
    return True


def _xattrs(parent: int, name: str) -> dict[str, bytes] | None:
    """Return the xattrs of a file; None where this process may not read it."""
    try:
        replaced = os.open(name, _READ, dir_fd=parent)
    except OSError:
        _log.info("attributes of a replaced file not read")
        return None
    try:
        found = read_xattrs(replaced, AttributeSupport())
    finally:
        os.close(replaced)
    found.pop(_CAPABILITY, None)
    return found


def _remove_acl(descriptor: int) -> None:
    try:
        os.removexattr(descriptor, inheritance.ACL_ACCESS)
    except OSError as error:
        if error.errno not in inheritance.REFUSED:
            raise
