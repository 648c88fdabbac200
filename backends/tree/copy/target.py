"""The receiving side of a copy: make entries, know which are whole, take unfinished ones away."""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from backends.fs import translate
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

#: Failures of the target that no other entry will be spared.
_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX

#: A time with all nine digits of its fraction in use, to find out which ones a target keeps.
_PROBE_NS = 1_000_000_000_123_456_789

_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class TargetDirectory:
    """Both sides of the directory at work, open."""

    path: str
    source: int
    target: int


class CopyTarget:
    """A target root; `trust` lets entries of a former run be taken for whole by length and time.

    `granularity_ns` is how exactly the target keeps times.
    """

    def __init__(self, anchor: Anchor, *, trust: bool, granularity_ns: int) -> None:
        self._anchor = anchor
        self._trust = trust
        self._granularity = granularity_ns

    def directory(self, path: str) -> int:
        """Open a directory of the target, made first where it is missing, private until sealed."""
        try:
            return self._anchor.open(path)
        except FileNotFoundError:
            return self.new_directory(path)

    def new_directory(self, path: str) -> int:
        """Make a directory that is most likely missing, and open it."""
        parent, name = split_name(path)
        if not name:
            return self._anchor.open(path)
        above = self.directory(parent)
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
        except OSError as error:
            raise fatal(error) from error
        finally:
            os.close(above)
        return self._anchor.open(path)

    def make(self, place: TargetDirectory, name: str, status: os.stat_result) -> int | None:
        """Create a target file; None when it is there already and whole."""
        mode = status.st_mode & 0o777
        try:
            return os.open(name, _MAKE, mode, dir_fd=place.target)
        except FileExistsError:
            there = os.stat(name, dir_fd=place.target, follow_symlinks=False)
            if self.whole(there, status):
                return None
            self.clear(place, name, there)
            return os.open(name, _MAKE, mode, dir_fd=place.target)

    def whole(self, there: os.stat_result, status: os.stat_result) -> bool:
        """Tell whether a target is what a former run finished."""
        apart = abs(there.st_mtime_ns - status.st_mtime_ns)
        return (
            self._trust
            and stat.S_IFMT(there.st_mode) == stat.S_IFMT(status.st_mode)
            and there.st_size == status.st_size
            and (apart == 0 or apart < self._granularity)
        )

    def clear(self, place: TargetDirectory, name: str, there: os.stat_result) -> None:
        """Take an unfinished target away."""
        if stat.S_ISDIR(there.st_mode):
            os.rmdir(name, dir_fd=place.target)
        else:
            os.unlink(name, dir_fd=place.target)

    def link(self, place: TargetDirectory, name: str, path: str) -> None:
        """Give the target file `name` of `place` the further name `path`."""
        directory, other = split_name(path)
        target = self.directory(directory)
        try:
            self._link(place.target, name, target, other)
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

    def symlink(self, place: TargetDirectory, name: str, receipt: Receipt) -> None:
        """Make the link `name` that the source has, with its attributes."""
        text = os.readlink(name, dir_fd=place.source)
        status = os.stat(name, dir_fd=place.source, follow_symlinks=False)
        try:
            os.symlink(text, name, dir_fd=place.target)
        except FileExistsError:
            there = os.stat(name, dir_fd=place.target, follow_symlinks=False)
            if self.whole(there, status) and os.readlink(name, dir_fd=place.target) == text:
                receipt.reused += 1
                return
            self.clear(place, name, there)
            os.symlink(text, name, dir_fd=place.target)
        self._dress_link(place, name, status, receipt)
        receipt.links += 1

    def _dress_link(
        self, place: TargetDirectory, name: str, status: os.stat_result, receipt: Receipt
    ) -> None:
        try:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=place.target, follow_symlinks=False)
        except PermissionError:
            receipt.lose(Loss.OWNER, join(place.path, name))
        self._xattrs_of_link(place, name, receipt)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=place.target, follow_symlinks=False)

    def _xattrs_of_link(self, place: TargetDirectory, name: str, receipt: Receipt) -> None:
        """Keep what a link may have (trusted and security only): these calls want paths."""
        source = f"/proc/self/fd/{place.source}/{name}"
        with suppress(OSError):  # not every file system lists them, nor every user
            for attribute in os.listxattr(source, follow_symlinks=False):
                value = os.getxattr(source, attribute, follow_symlinks=False)
                try:
                    target = f"/proc/self/fd/{place.target}/{name}"
                    os.setxattr(target, attribute, value, follow_symlinks=False)
                except OSError as error:
                    receipt.lose(Loss.XATTR, join(place.path, name), f"{attribute}: {error}")


def probe_granularity(target: Anchor) -> int:
    """Tell how exactly the target keeps times, in nanoseconds (1 on most file systems)."""
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
    return next(units, 1)  # somebody else changed the directory: no time is taken for another


def fatal(error: OSError) -> Exception:
    """Give the problem that ends the job, or the error itself when others may be spared."""
    return translate(error) if is_fatal(error) else error


def is_fatal(error: OSError) -> bool:
    """Tell whether no other entry will be spared this failure of the target."""
    return error.errno in _FATAL


class AttributeWriter:
    """Gives one entry's attributes to its open copy and notes what was refused."""

    def __init__(self, receipt: Receipt, skills: AttributeSupport) -> None:
        self._receipt = receipt
        self._support = skills

    def give(self, path: str, source: int, target: int, status: os.stat_result) -> None:
        """Make the open `target` like the open `source`, whose attributes are `status`."""
        given = os.fstat(target)
        unlock(target)
        self.owner(path, target, status, given)
        self.xattrs(path, target, read_xattrs(source, self._support), read_xattrs_of(target))
        self.mode(path, target, status)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.flags(path, target, read_flags(source, self._support))

    def owner(self, path: str, target: int, status: os.stat_result, given: os.stat_result) -> None:
        """Give owner and group; without the right to, at least the group."""
        if (given.st_uid, given.st_gid) == (status.st_uid, status.st_gid):
            return
        try:
            os.chown(target, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.lose(Loss.OWNER, path, f"{status.st_uid}:{status.st_gid}")
            if given.st_gid != status.st_gid:
                self._group(target, status.st_gid)

    def _group(self, target: int, gid: int) -> None:
        try:
            os.chown(target, -1, gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise

    def xattrs(
        self, path: str, target: int, wanted: dict[str, bytes], given: dict[str, bytes]
    ) -> None:
        """Set what the source has and take away what was inherited."""
        for name, value in wanted.items():
            if given.get(name) != value:
                self._set(path, target, name, value)
        for name in given.keys() - wanted.keys():
            if name in (ACL_ACCESS, ACL_DEFAULT):
                os.removexattr(target, name)

    def _set(self, path: str, target: int, name: str, value: bytes) -> None:
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            loss = Loss.ACL if name in (ACL_ACCESS, ACL_DEFAULT) else Loss.XATTR
            self._receipt.lose(loss, path, f"{name}: {error.strerror}")

    def mode(self, path: str, target: int, status: os.stat_result) -> None:
        """Give the permission bits; set-group-id may be dropped by the kernel without a word."""
        wanted = stat.S_IMODE(status.st_mode)
        try:
            os.fchmod(target, wanted)
        except PermissionError as error:
            self._receipt.lose(Loss.MODE, path, error.strerror or "")
            return
        if wanted & _SPECIAL and stat.S_IMODE(os.fstat(target).st_mode) != wanted:
            self._receipt.lose(Loss.MODE, path, oct(wanted))

    def flags(self, path: str, target: int, flags: int) -> None:
        """Give the flags; the last step, because immutable means it."""
        if not flags:
            return
        try:
            set_flags(target, flags)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.lose(Loss.FLAGS, path, f"{flags:#x}")


def read_xattrs_of(target: int) -> dict[str, bytes]:
    """Give what a new entry inherited from its directory."""
    return read_xattrs(target, AttributeSupport())
