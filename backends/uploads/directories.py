"""The directories of uploads: the hidden one of their bytes, and those they are published into.

A rename brings nothing of what a directory gives to new entries: owner, group, rights. So a file
gets it before, or gets what the file had that it replaces.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import PurePosixPath

from backends.base import Backend, Mount, MountedBackend, Owner
from backends.fs import descriptors, layout, linux
from backends.tree import AttributeSupport, read_xattrs
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import Upload

_log = logger(__name__)

_PATHS_KNOWN = 1024
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The mode of a published file (rw-r--r--), whatever the process's umask is, and of one whose
#: directory has a default ACL: there the ACL decides, as for any program that creates a file.
FILE_MODE = 0o644
_FILE_MODE_UNDER_ACL = 0o666
#: The same of a directory.
DIRECTORY_MODE = 0o755
_DIRECTORY_MODE_UNDER_ACL = 0o777
#: What a file that is replaced leaves of its mode: a write clears the set-id bits, too.
_MODE_KEPT = 0o1777
#: Default and access ACLs, as setxattr(2) takes them (linux/posix_acl_xattr.h): a version, then a
#: tag, permissions and an id for each entry.
_ACL_DEFAULT = "system.posix_acl_default"
_ACL_ACCESS = "system.posix_acl_access"
_ACL_VERSION = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
#: The entry has no such attribute, or its file system has none.
_NONE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})
#: An attribute that the process may not set, or that the file system of now does not take.
_REFUSED = _NONE | {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTTY}
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
                make_directory(name, parent, owner)
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


# -- What entries get from their directory ---------------------------------------------------------
def prepare_file(descriptor: int, parent: int, name: str, mount: Mount) -> None:
    """Give a file the attributes that it has under a name of the directory `parent`.

    Those of the file that it replaces, or of any new file there. Costs three system calls.

    Raises:
        OSError: the file system refuses.
    """
    if not (mount.keeps_attributes and _keep_attributes(descriptor, parent, name)):
        inherit_access(descriptor, parent, mount.owner)


def inherit_access(descriptor: int, parent: int, owner: Owner = Owner.SERVICE) -> None:
    """Give a file what its directory gives to files that are created in it (inode(7), acl(5)).

    That is the group of a set-group-ID directory, and a default ACL. With `owner = "directory"`
    also the directory's owner and group. Owner and group stay where this process may not set them.
    Costs two system calls.

    Raises:
        OSError: the file system refuses.
    """
    _give_owner(descriptor, os.fstat(parent), owner)
    acl = default_acl(parent)
    if acl is None:
        os.fchmod(descriptor, FILE_MODE)
    else:
        os.setxattr(descriptor, _ACL_ACCESS, _access_acl(acl, _FILE_MODE_UNDER_ACL))


def inherit_directory(descriptor: int, parent: int, owner: Owner) -> None:
    """Give a directory what one that is made in `parent` has: group, ACLs, project, owner.

    What is made in it from then on inherits the same.

    Raises:
        OSError: the file system refuses.
    """
    above = os.fstat(parent)
    _give_owner(descriptor, above, owner)
    os.fchmod(descriptor, DIRECTORY_MODE | above.st_mode & stat.S_ISGID)
    acl = default_acl(parent)
    if acl is not None:
        os.setxattr(descriptor, _ACL_ACCESS, _access_acl(acl, _DIRECTORY_MODE_UNDER_ACL))
        os.setxattr(descriptor, _ACL_DEFAULT, acl)
    take_project(descriptor, parent)


def make_directory(name: str, parent: int, owner: Owner) -> None:
    """Make a directory as `mkdir(2)` does; with `owner = "directory"` it gets that owner.

    Raises:
        OSError: as mkdir(2).
    """
    under_acl = default_acl(parent) is not None
    os.mkdir(name, _DIRECTORY_MODE_UNDER_ACL if under_acl else DIRECTORY_MODE, dir_fd=parent)
    own_new_directory(name, parent, owner)


def own_new_directory(name: str, parent: int, owner: Owner) -> None:
    """Give a directory that was made just now the owner that the settings say."""
    if owner is Owner.SERVICE:
        return
    descriptor = os.open(name, _OPEN, dir_fd=parent)
    try:
        _give_owner(descriptor, os.fstat(parent), owner)
    finally:
        os.close(descriptor)


def default_acl(directory: int) -> bytes | None:
    """Return the default ACL of a directory; None when it has none."""
    try:
        return os.getxattr(directory, _ACL_DEFAULT)
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return None


def take_project(descriptor: int, parent: int) -> bool:
    """Give an entry the project id of a directory; return whether it has another one now.

    XFS and ext4 rename nothing into a directory whose new entries inherit another id.
    """
    try:
        project, inherited = linux.project_of(parent)
        if not inherited or linux.project_of(descriptor)[0] == project:
            return False
        linux.set_project(descriptor, project)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return True


def _give_owner(descriptor: int, parent: os.stat_result, owner: Owner) -> None:
    status = os.fstat(descriptor)
    whole = owner is Owner.DIRECTORY
    uid = parent.st_uid if whole else status.st_uid
    gid = parent.st_gid if whole or parent.st_mode & stat.S_ISGID else status.st_gid
    _own(descriptor, status, uid, gid)


def _own(descriptor: int, status: os.stat_result, uid: int, gid: int) -> None:
    """Set owner and group; the group alone where only that is permitted."""
    if (status.st_uid, status.st_gid) == (uid, gid):
        return
    try:
        os.fchown(descriptor, uid, gid)
    except PermissionError:
        _log.info("owner not given", owner=uid, group=gid)
        if status.st_uid != uid and status.st_gid != gid:
            with suppress(PermissionError):
                os.fchown(descriptor, -1, gid)


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
    _own(descriptor, os.fstat(descriptor), status.st_uid, status.st_gid)
    xattrs = _xattrs(parent, name)
    if xattrs is not None and _ACL_ACCESS not in xattrs:
        _remove_acl(descriptor)
    os.fchmod(descriptor, status.st_mode & _MODE_KEPT)
    for key, value in (xattrs or {}).items():
        try:
            os.setxattr(descriptor, key, value)
        except OSError as error:
            if error.errno not in _REFUSED:
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
        os.removexattr(descriptor, _ACL_ACCESS)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


def _access_acl(default: bytes, mode: int) -> bytes:
    """Return the ACL that the kernel gives to a new entry below a default ACL.

    A creation with a mode leaves of owner, mask (or group) and others what the mode has.
    """
    entries = list(_ACL_ENTRY.iter_unpack(default[_ACL_VERSION.size :]))
    group = _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP_OBJ
    kept = {_USER_OBJ: mode >> 6 & 0o7, group: mode >> 3 & 0o7, _OTHER: mode & 0o7}
    masked = [
        _ACL_ENTRY.pack(tag, rights & kept.get(tag, 0o7), id_) for tag, rights, id_ in entries
    ]
    return default[: _ACL_VERSION.size] + b"".join(masked)
