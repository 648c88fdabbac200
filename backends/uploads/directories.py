"""The directories of uploads: the hidden one of their bytes, and those they are published into."""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import PurePosixPath

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import Upload

_PATHS_KNOWN = 1024
#: The mode of a published file (rw-r--r--), whatever the process's umask is, and of one whose
#: directory has a default ACL: there the ACL decides, as for any program that creates a file.
FILE_MODE = 0o644
_FILE_MODE_UNDER_ACL = 0o666
_DIRECTORY_MODE_UNDER_ACL = 0o777
#: Default and access ACLs, as setxattr(2) takes them (linux/posix_acl_xattr.h): a version, then a
#: tag, permissions and an id for each entry.
_ACL_DEFAULT = "system.posix_acl_default"
_ACL_ACCESS = "system.posix_acl_access"
_ACL_VERSION = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
#: The directory has no default ACL, or its file system has no ACLs.
_NO_ACL = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})


_log = logger(__name__)


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
            under_acl = _default_acl(parent) is not None
            mode = _DIRECTORY_MODE_UNDER_ACL if under_acl else descriptors.PREFIX_MODE
            try:
                os.mkdir(name, mode, dir_fd=parent)
            except FileExistsError:
                continue
            os.fsync(parent)
        except NotADirectoryError:  # the kernel gives ENOTDIR for a link, too
            if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def inherit_access(descriptor: int, parent: int) -> None:
    """Give a file what its directory gives to files that are created in it (inode(7), acl(5)).

    That is the group of a set-group-ID directory, and a default ACL. A rename brings neither. The
    group stays where this process is not root and not in that group. Costs two system calls.

    Raises:
        OSError: the file system refuses.
    """
    directory = os.fstat(parent)
    if directory.st_mode & stat.S_ISGID and os.fstat(descriptor).st_gid != directory.st_gid:
        try:
            os.fchown(descriptor, -1, directory.st_gid)
        except PermissionError:
            _log.info("group of the directory not given", group=directory.st_gid)
    acl = _default_acl(parent)
    if acl is None:
        os.fchmod(descriptor, FILE_MODE)
    else:
        os.setxattr(descriptor, _ACL_ACCESS, _access_acl(acl))


def _default_acl(directory: int) -> bytes | None:
    try:
        return os.getxattr(directory, _ACL_DEFAULT)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return None


def _access_acl(default: bytes) -> bytes:
    """Return the ACL that the kernel gives to a new file below a default ACL.

    A creation with a mode leaves of owner, mask (or group) and others what the mode has.
    """
    entries = list(_ACL_ENTRY.iter_unpack(default[_ACL_VERSION.size :]))
    group = _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP_OBJ
    kept = {
        _USER_OBJ: _FILE_MODE_UNDER_ACL >> 6,
        group: _FILE_MODE_UNDER_ACL >> 3 & 0o7,
        _OTHER: _FILE_MODE_UNDER_ACL & 0o7,
    }
    masked = [
        _ACL_ENTRY.pack(tag, rights & kept.get(tag, 0o7), id_) for tag, rights, id_ in entries
    ]
    return default[: _ACL_VERSION.size] + b"".join(masked)


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
