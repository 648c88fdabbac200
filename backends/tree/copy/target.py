"""The target side of a copy: create entries, recognise complete ones, set attributes.

The order of attributes matters. A change of owner clears set-id bits and capabilities, writing
content changes the times, and an immutable file accepts no change. So the order is: owner, xattrs,
mode, times, flags. What the target refuses is counted in the receipt, and the rest is done.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from backends.fs import USUAL_NS, is_nearest_time, is_same_time, translate
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.files import (
    ACL_ACCESS,
    ACL_DEFAULT,
    READ_DIRECTORY,
    REFUSED,
    Anchor,
    AttributeSupport,
    join,
    read_flags,
    read_xattrs,
    set_flags,
    split_name,
    unlock,
)

#: Failures of the target that every other entry would meet too.
_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX

#: A time with all nine digits of its fraction in use, to find out which digits a target keeps.
_PROBE_NS = 1_000_000_000_123_456_789

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class DirectoryPair:
    """The source and the target of one directory, both open."""

    path: str
    source: int
    target: int


class CopyTarget:
    """A target root; `granularity_ns` is the precision of its times.

    With `trust`, equal length and time prove that an entry of an earlier run is complete.
    """

    def __init__(self, anchor: Anchor, *, trust: bool, granularity_ns: int) -> None:
        self._anchor = anchor
        self._trust = trust
        self._granularity = granularity_ns

    def directory(self, path: str) -> int:
        """Open a directory of the target; create it when it is missing, private until sealed."""
        try:
            return self._anchor.open(path)
        except FileNotFoundError:
            return self.new_directory(path)

    def new_directory(self, path: str) -> int:
        """Create a directory that is most likely missing, and open it."""
        parent, name = split_name(path)
        if not name:
            return self._anchor.open(path)
        parent_fd = self.directory(parent)
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent_fd)
        except OSError as error:
            raise job_failure(error) from error
        finally:
            os.close(parent_fd)
        return self._anchor.open(path)

    def create(self, pair: DirectoryPair, name: str, status: os.stat_result) -> int | None:
        """Create a target file and open it; return None when it exists and is complete."""
        mode = status.st_mode & 0o777
        try:
            return os.open(name, _CREATE, mode, dir_fd=pair.target)
        except FileExistsError:
            there = os.stat(name, dir_fd=pair.target, follow_symlinks=False)
            if self._is_complete(there, status):
                return None
            self._remove(pair, name, there)
            return os.open(name, _CREATE, mode, dir_fd=pair.target)

    def _is_complete(self, there: os.stat_result, status: os.stat_result) -> bool:
        """Return whether an earlier run finished this target entry."""
        return self._trust and self.is_equal(there, status)

    def is_equal(self, there: os.stat_result, status: os.stat_result) -> bool:
        """Return whether kind, length and time of an entry here are those of the source's."""
        return (
            stat.S_IFMT(there.st_mode) == stat.S_IFMT(status.st_mode)
            and there.st_size == status.st_size
            and is_same_time(status.st_mtime_ns, there.st_mtime_ns, self._granularity)
        )

    def _remove(self, pair: DirectoryPair, name: str, there: os.stat_result) -> None:
        """Remove an incomplete target entry."""
        if stat.S_ISDIR(there.st_mode):
            os.rmdir(name, dir_fd=pair.target)
        else:
            os.unlink(name, dir_fd=pair.target)

    def discard(self, pair: DirectoryPair, name: str) -> None:
        """Remove a file that cannot be completed: the copy has no parts of files."""
        with suppress(OSError):  # the caller reports the first failure
            os.unlink(name, dir_fd=pair.target)

    def link(self, pair: DirectoryPair, name: str, path: str) -> None:
        """Link the target file `name` of `pair` to the further name `path`."""
        directory, other = split_name(path)
        target = self.directory(directory)
        try:
            self._link(pair.target, name, target, other)
        finally:
            os.close(target)

    def _link(self, source: int, name: str, target: int, other: str) -> None:
        try:
            os.link(name, other, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            original = os.stat(name, dir_fd=source, follow_symlinks=False)
            there = os.stat(other, dir_fd=target, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (original.st_dev, original.st_ino):
                return
            os.unlink(other, dir_fd=target)
            os.link(name, other, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)

    def symlink(self, pair: DirectoryPair, name: str, receipt: Receipt) -> None:
        """Copy the symlink `name` with its attributes."""
        if self.make_symlink(pair, name, read_symlink(pair.source, name), receipt):
            receipt.links += 1
        else:
            receipt.reused += 1

    def make_symlink(
        self, pair: DirectoryPair, name: str, link: "Symlink", receipt: Receipt
    ) -> bool:
        """Make the symlink `name`; return False when it exists and is complete."""
        try:
            os.symlink(link.text, name, dir_fd=pair.target)
        except FileExistsError:
            there = os.stat(name, dir_fd=pair.target, follow_symlinks=False)
            same = self._is_complete(there, link.status)
            if same and os.readlink(name, dir_fd=pair.target) == link.text:
                return False
            self._remove(pair, name, there)
            os.symlink(link.text, name, dir_fd=pair.target)
        self._set_link_attributes(pair, name, link, receipt)
        return True

    def _set_link_attributes(
        self, pair: DirectoryPair, name: str, link: "Symlink", receipt: Receipt
    ) -> None:
        status = link.status
        try:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=pair.target, follow_symlinks=False)
        except PermissionError:
            receipt.add_loss(Loss.OWNER, join(pair.path, name))
        self._set_link_xattrs(pair, name, link, receipt)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=pair.target, follow_symlinks=False)
        if status.st_mtime_ns not in USUAL_NS:
            kept = os.stat(name, dir_fd=pair.target, follow_symlinks=False)
            _add_lost_time(receipt, join(pair.path, name), status, kept)

    def _set_link_xattrs(
        self, pair: DirectoryPair, name: str, link: "Symlink", receipt: Receipt
    ) -> None:
        target = f"/proc/self/fd/{pair.target}/{name}"
        for attribute, value in link.xattrs.items():
            try:
                os.setxattr(target, attribute, value, follow_symlinks=False)
            except OSError as error:
                receipt.add_loss(Loss.XATTR, join(pair.path, name), f"{attribute}: {error}")


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symlink of the source."""

    text: str
    status: os.stat_result
    #: Only trusted and security ones.
    xattrs: dict[str, bytes]


def read_symlink(directory: int, name: str) -> Symlink:
    """Read a symlink of an open directory, with its attributes."""
    xattrs: dict[str, bytes] = {}
    path = f"/proc/self/fd/{directory}/{name}"  # the calls for links need paths
    with suppress(OSError):  # not every file system lists them, nor may every user
        for attribute in os.listxattr(path, follow_symlinks=False):
            xattrs[attribute] = os.getxattr(path, attribute, follow_symlinks=False)
    text = os.readlink(name, dir_fd=directory)
    return Symlink(text, os.stat(name, dir_fd=directory, follow_symlinks=False), xattrs)


class AttributeWriter:
    """Copies the attributes of an entry to its open copy, and counts what the target refuses."""

    def __init__(self, receipt: Receipt, support: AttributeSupport) -> None:
        self._receipt = receipt
        self._support = support

    def copy_all(self, path: str, source: int, target: int, status: os.stat_result) -> None:
        """Make the open `target` like the open `source`, whose attributes are `status`."""
        kept = read_xattrs(source, self._support), read_flags(source, self._support)
        self.write(path, target, status, *kept)

    def write(
        self, path: str, target: int, status: os.stat_result, xattrs: dict[str, bytes], flags: int
    ) -> None:
        """Give the open `target` these attributes."""
        present = os.fstat(target)
        unlock(target)
        self._set_owner(path, target, status, present)
        inherited = read_xattrs(target, AttributeSupport())
        self._set_xattrs(path, target, xattrs, inherited)
        self._set_mode(path, target, status)
        self.set_times(path, target, status)
        self.set_flags(path, target, flags)

    def _set_owner(
        self, path: str, target: int, status: os.stat_result, present: os.stat_result
    ) -> None:
        """Set owner and group; without the right to do so, at least the group."""
        if (present.st_uid, present.st_gid) == (status.st_uid, status.st_gid):
            return
        try:
            os.chown(target, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.add_loss(Loss.OWNER, path, f"{status.st_uid}:{status.st_gid}")
            if present.st_gid != status.st_gid:
                self._set_group(target, status.st_gid)

    def _set_group(self, target: int, gid: int) -> None:
        try:
            os.chown(target, -1, gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise

    def _set_xattrs(
        self, path: str, target: int, xattrs: dict[str, bytes], inherited: dict[str, bytes]
    ) -> None:
        """Set the xattrs of the source and remove the ACLs inherited from the directory."""
        for name, value in xattrs.items():
            if inherited.get(name) != value:
                self._set_xattr(path, target, name, value)
        for name in inherited.keys() - xattrs.keys():
            if name in (ACL_ACCESS, ACL_DEFAULT):
                os.removexattr(target, name)

    def _set_xattr(self, path: str, target: int, name: str, value: bytes) -> None:
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            loss = Loss.ACL if name in (ACL_ACCESS, ACL_DEFAULT) else Loss.XATTR
            self._receipt.add_loss(loss, path, f"{name}: {error.strerror}")

    def _set_mode(self, path: str, target: int, status: os.stat_result) -> None:
        """Set the permission bits; the kernel may drop set-group-id without an error."""
        mode = stat.S_IMODE(status.st_mode)
        try:
            os.fchmod(target, mode)
        except PermissionError as error:
            self._receipt.add_loss(Loss.MODE, path, error.strerror or "")
            return
        if mode & _SPECIAL and stat.S_IMODE(os.fstat(target).st_mode) != mode:
            self._receipt.add_loss(Loss.MODE, path, oct(mode))

    def set_times(self, path: str, target: int, status: os.stat_result) -> None:
        """Set the times of an open copy; count a time that its file system cannot have."""
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        if status.st_mtime_ns not in USUAL_NS:
            _add_lost_time(self._receipt, path, status, os.fstat(target))

    def set_flags(self, path: str, target: int, flags: int) -> None:
        """Set the flags; the last step, because an immutable file accepts no change."""
        if not flags:
            return
        try:
            set_flags(target, flags)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.add_loss(Loss.FLAGS, path, f"{flags:#x}")


def _add_lost_time(
    receipt: Receipt, path: str, status: os.stat_result, kept: os.stat_result
) -> None:
    """Count a time that the target's file system cannot have; it has the nearest one."""
    if is_nearest_time(status.st_mtime_ns, kept.st_mtime_ns):
        words = f"{status.st_mtime_ns // 10**9} / {kept.st_mtime_ns // 10**9}"
        receipt.add_loss(Loss.TIMES, path, words)


def probe_granularity(target: Anchor) -> int:
    """Return the precision of times on the target, in nanoseconds (1 on most file systems)."""
    fd = os.open(".", READ_DIRECTORY, dir_fd=target.fd)
    try:
        before = os.fstat(fd)
        os.utime(fd, ns=(_PROBE_NS, _PROBE_NS))
        kept = os.fstat(fd).st_mtime_ns
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)
    lost = abs(_PROBE_NS - kept)
    units = (unit for unit in (1, 100, 1000, 10**6, 10**9, 2 * 10**9, 10**11) if lost < unit)
    return next(units, 1)  # another process changed the directory: no other time counts as equal


def job_failure(error: OSError) -> Exception:
    """Return the error that ends the job, or `error` when other entries may still succeed."""
    return translate(error) if ends_job(error) else error


def ends_job(error: OSError) -> bool:
    """Return whether every other entry would meet this failure of the target too."""
    return error.errno in _FATAL
