"""What a new entry gets from its directory: owner, group, ACL, project (inode(7), acl(5)).

A rename brings none of it. So what is made elsewhere gets it before.
"""

import errno
import os
import stat
import struct
from contextlib import suppress

from backends.base import Owner
from backends.fs import linux
from core.telemetry import logger

_log = logger(__name__)

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The mode of a published file (rw-r--r--), whatever the process's umask is, and of one whose
#: directory has a default ACL: there the ACL decides, as for any program that creates a file.
FILE_MODE = 0o644
_FILE_MODE_UNDER_ACL = 0o666
#: The same of a directory.
DIRECTORY_MODE = 0o755
_DIRECTORY_MODE_UNDER_ACL = 0o777
#: The umask of doors and workers, whatever that of their shell was: it takes nothing from the
#: modes above and from those of scopes, prefixes and vfolders.
UMASK = 0o022
#: Default and access ACLs, as setxattr(2) takes them (linux/posix_acl_xattr.h): a version, then a
#: tag, permissions and an id for each entry.
_ACL_DEFAULT = "system.posix_acl_default"
ACL_ACCESS = "system.posix_acl_access"
_ACL_VERSION = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
#: The entry has no such attribute, or its file system has none.
_NONE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})
#: An attribute that the process may not set, or that the file system of now does not take.
REFUSED = _NONE | {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTTY}


def set_umask() -> None:
    """Set the umask of this process, so that other users enter what it publishes; for its start."""
    os.umask(UMASK)


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
        os.setxattr(descriptor, ACL_ACCESS, _access_acl(acl, _FILE_MODE_UNDER_ACL))


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
        os.setxattr(descriptor, ACL_ACCESS, _access_acl(acl, _DIRECTORY_MODE_UNDER_ACL))
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
        if error.errno not in REFUSED:
            raise
        return False
    return True


def _give_owner(descriptor: int, parent: os.stat_result, owner: Owner) -> None:
    status = os.fstat(descriptor)
    whole = owner is Owner.DIRECTORY
    uid = parent.st_uid if whole else status.st_uid
    gid = parent.st_gid if whole or parent.st_mode & stat.S_ISGID else status.st_gid
    set_owner(descriptor, status, uid, gid)


def set_owner(descriptor: int, status: os.stat_result, uid: int, gid: int) -> None:
    """Set owner and group of an entry; the group alone where only that is permitted.

    `status` is that of the entry. What this process may not set stays unchanged.
    """
    if (status.st_uid, status.st_gid) == (uid, gid):
        return
    try:
        os.fchown(descriptor, uid, gid)
    except PermissionError:
        _log.info("owner not given", owner=uid, group=gid)
        if status.st_uid != uid and status.st_gid != gid:
            with suppress(PermissionError):
                os.fchown(descriptor, -1, gid)


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
