"""The helper's side of a copy: one directory's entries after another, attributes included.

A file's modification time is set last, so a target with the source's length and time is whole:
that is how a resumed copy knows what it has. Files with several names are only reported; the
parent links them when all names are known.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from backends.fs import reason_of
from backends.tree.copy.pieces import Digests, Taken
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.copy.target import AttributeWriter, CopyTarget, TargetDirectory, fatal, is_fatal
from backends.tree.fast import Plain
from backends.tree.files import (
    Anchor,
    AttributeSupport,
    Changed,
    ShortSource,
    content,
    has_xattrs,
    join,
    read_flags,
    split_name,
)
from backends.tree.processes import Effort, HelperChannel
from core.jobs import Counter

#: Files from this size on are told to the parent, which gives each to a helper of its own.
BIG_BYTES = 32 * 1024 * 1024
#: How often a file that changes while it is read is tried again.
TRIES_MAX = 3
KEPT_CHANGING = "The file kept changing while it was copied."

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SPECIAL = 0o7000
_SKIPPED = {
    stat.S_IFIFO: Loss.FIFO,
    stat.S_IFSOCK: Loss.SOCKET,
    stat.S_IFBLK: Loss.DEVICE,
    stat.S_IFCHR: Loss.DEVICE,
}
T = TypeVar("T")


class Copier:
    """Copies the entries of directories from one root to another; one per helper."""

    def __init__(
        self,
        source: Anchor,
        target: CopyTarget,
        *,
        inherits: bool,
        effort: Effort,
        digest: str = "",
    ) -> None:
        self._source = source
        self.target = target
        self._inherits = inherits
        self.filler = Filler(digest)
        self._digests = bool(digest)
        self._support = AttributeSupport()
        self.loops = effort.loops
        self._throttle = effort.throttle
        self._user = os.geteuid()
        self._own_group = os.getegid()
        self._noatime = os.O_NOATIME if self._user == 0 else 0
        self.begin()

    def begin(self) -> None:
        """Start a batch with an empty receipt."""
        self.receipt = Receipt()
        self.links: list[tuple[int, int, str]] = []
        self.big: list[str] = []
        self.digests: list[Taken] = []
        self._writer = AttributeWriter(self.receipt, self._support)

    def directory(self, path: str, names: list[str] | None, channel: HelperChannel) -> None:
        """Copy the entries of a directory, or those of `names`, but not what is below."""
        try:
            place = self._open(path, new=names is None)
        except OSError as error:
            self._missed(path, error, channel)
            return
        try:
            if names is None:
                self._all(place, channel)
            for name, kind in kinds(place.source, names or []):
                self._entry(place, name, kind, channel)
        except OSError as error:
            self._missed(path, error, channel)
        finally:
            os.close(place.source)
            os.close(place.target)

    def _open(self, path: str, *, new: bool = False) -> TargetDirectory:
        source = self._source.open(path)
        try:
            make = self.target.new_directory if new else self.target.directory
            target = make(path)
        except BaseException:
            os.close(source)
            raise
        self._support.gid = self._group(target)
        return TargetDirectory(path, source, target)

    def _group(self, target: int) -> int:
        """Tell the group that new files in an open directory get."""
        status = os.fstat(target)
        return status.st_gid if status.st_mode & stat.S_ISGID else self._own_group

    def _all(self, place: TargetDirectory, channel: HelperChannel) -> None:
        """Copy a whole directory, plain files by the fast loop."""
        for files, size_bytes, others in self.loops.copy(
            place.source, place.target, self._rule(), channel.stop_flag
        ):
            self.receipt.files += files
            self.receipt.size_bytes += size_bytes
            channel.count(Counter.COPIED, files, size_bytes)
            for name, kind in others:
                self._entry(place, name, kind, channel)

    def _rule(self) -> Plain | None:
        """Say which files the fast loop may copy; None when each needs a closer look.

        It does when it inherits an ACL, when digests are taken, or under a limit, where a thousand
        at once are too many.
        """
        if (
            self._inherits
            or self._digests
            or (self._throttle is not None and any(self._throttle.limits))
        ):
            return None
        skills = self._support
        return Plain(self._user, skills.gid, bool(self._noatime), skills.xattrs, skills.flags)

    def _entry(self, place: TargetDirectory, name: str, kind: int, channel: HelperChannel) -> None:
        try:
            kind = kind or kind_of(place.source, name)
            if kind == stat.S_IFREG:
                self.regular(place, name, channel)
            elif kind == stat.S_IFLNK:
                self.target.symlink(place, name, self.receipt)
                channel.count(Counter.COPIED, 1)
            elif kind == stat.S_IFDIR:
                self.receipt.directories += 1
                channel.count(Counter.COPIED, 1)
            else:
                self.receipt.lose(_SKIPPED[kind], join(place.path, name))
                channel.count(Counter.SKIPPED, 1)
        except OSError as error:
            self._missed(join(place.path, name), error, channel)

    def _missed(self, path: str, error: OSError, channel: HelperChannel) -> None:
        """Note an entry that could not be copied, or end the job when none can be any more."""
        if is_fatal(error):
            raise fatal(error) from error
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            self.receipt.lose(Loss.VANISHED, path)
            return
        if error.errno == errno.EXDEV:
            self.receipt.lose(Loss.MOUNT, path)
            return
        reason = reason_of(error)
        denied = error.errno in (errno.EACCES, errno.EPERM)
        self.receipt.lose(Loss.UNREADABLE if denied else Loss.FAILED, path, reason)
        channel.fault(path, reason)
        channel.count(Counter.FAILED, 1)

    def guard(self, path: str, channel: HelperChannel, act: Callable[[], T]) -> T | None:
        """Do something with an entry; a failure is noted, and the answer is None."""
        try:
            return act()
        except OSError as error:
            self._missed(path, error, channel)
        return None

    @contextmanager
    def opened(self, path: str) -> Iterator[tuple[TargetDirectory, str, int]]:
        """Open a file of the source and the directories that hold it on both sides."""
        directory, name = split_name(path)
        place = self._open(directory)
        try:
            fd = self._read(name, place.source)
            try:
                yield place, name, fd
            finally:
                os.close(fd)
        finally:
            os.close(place.source)
            os.close(place.target)

    def regular(
        self, place: TargetDirectory, name: str, channel: HelperChannel, *, big: bool = False
    ) -> None:
        """Copy a regular file; without `big`, big ones and those with many names are reported."""
        for _ in range(TRIES_MAX):
            try:
                size = self._file(place, name, channel, big=big)
            except (Changed, ShortSource):
                continue
            if size is not None:
                self.receipt.files += 1
                self.receipt.size_bytes += size
                channel.count(Counter.COPIED, 1)
            return
        path = join(place.path, name)
        self.receipt.lose(Loss.CHANGED, path)
        channel.fault(path, KEPT_CHANGING)
        channel.count(Counter.FAILED, 1)

    def _file(
        self, place: TargetDirectory, name: str, channel: HelperChannel, *, big: bool
    ) -> int | None:
        """Copy one file; its bytes, or None when it was only reported to the parent."""
        fd = self._read(name, place.source)
        try:
            status = os.fstat(fd)
            if not big and status.st_nlink > 1:
                self.links.append((status.st_dev, status.st_ino, join(place.path, name)))
                return None
            if not big and status.st_size >= BIG_BYTES and not self.filler.clones(fd, place.target):
                self.big.append(join(place.path, name))
                return None
            if not stat.S_ISREG(status.st_mode):
                raise Changed
            self.one(place, name, fd, status, channel)
            return status.st_size
        finally:
            os.close(fd)

    def one(
        self,
        place: TargetDirectory,
        name: str,
        fd: int,
        status: os.stat_result,
        channel: HelperChannel,
    ) -> None:
        """Copy the open file `fd` to `name`, with content and attributes, unless it is there."""
        out = self.target.make(place, name, status)
        path = join(place.path, name)
        if out is None:
            self.reuse(status, channel)
            self.digested(path, status.st_size, None)
            return
        try:
            digest = self.filler.fill(fd, out, status, channel)
            content.check_unchanged(fd, status)
            self.dress(path, fd, out, status)
        finally:
            os.close(out)
        self.digested(path, status.st_size, digest)

    def digested(self, path: str, size_bytes: int, digest: bytes | Digests | None) -> None:
        """Note a copied file with its digest, where digests are taken."""
        if self._digests:
            self.digests.append((path, size_bytes, digest))

    def _read(self, name: str, directory: int) -> int:
        try:
            return os.open(name, _READ | self._noatime, dir_fd=directory)
        except PermissionError as error:
            if not self._noatime or error.errno != errno.EPERM:
                raise
        self._noatime = 0  # root of a user namespace may not
        return os.open(name, _READ, dir_fd=directory)

    def reuse(self, status: os.stat_result, channel: HelperChannel) -> None:
        """Count a file that a former run finished."""
        self.receipt.reused += 1
        channel.count(Counter.COPIED, 0, status.st_size)

    def dress(
        self, path: str, fd: int, out: int, status: os.stat_result, *, fresh: bool = True
    ) -> None:
        """Give a file its attributes, a fresh one with as few calls as it needs; time last."""
        plain = (
            fresh
            and os.fstat(out).st_gid == self._support.gid
            and status.st_uid == self._user
            and status.st_gid == self._support.gid
            and not status.st_mode & _SPECIAL
            and not self._inherits
        )
        if not plain or has_xattrs(fd, self._support):
            self._writer.give(path, fd, out, status)
            return
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._writer.flags(path, out, read_flags(fd, self._support))


class Filler:
    """Brings content over, and learns meanwhile which ways the two file systems have.

    `digest` names one of `content.DIGESTS`, "" none.
    """

    def __init__(self, digest: str = "") -> None:
        self._digest = digest
        self._ways = content.CopyMethods()
        self._cloning: bool | None = None

    def clones(self, fd: int, directory: int) -> bool:
        """Tell whether the content of big files is a matter of one call here; tried once."""
        if self._cloning is None:
            self._cloning = content.clones(fd, directory)
        return self._cloning and self._ways.clone

    def fill(
        self, fd: int, out: int, status: os.stat_result, channel: HelperChannel
    ) -> bytes | None:
        """Bring the content of a whole file over; the digest of what was read.

        None when none is asked for, or when not all bytes passed through this process: of files
        that share their extents, and of files with holes.

        Raises:
            ShortSource: the file became shorter, or a small one longer.
        """
        size = status.st_size
        digest = content.DIGESTS[self._digest]() if self._digest else None
        if size <= content.SMALL_BYTES and not content.is_sparse(status):
            content.copy_small(fd, out, size, digest)
            channel.count(Counter.COPIED, 0, size)
        elif content.clone(fd, out, self._ways):
            digest = None
            channel.count(Counter.COPIED, 0, size)
        elif content.is_sparse(status):
            digest = None
            os.ftruncate(out, size)
            self.span(fd, out, (0, size), channel)
        elif digest:
            self._hashing(fd, out, (0, size), digest, channel)
        else:
            self._data(fd, out, (0, size), channel)
        return digest.digest() if digest else None

    def piece(
        self,
        fd: int,
        out: int,
        span: tuple[int, int],
        status: os.stat_result,
        channel: HelperChannel,
    ) -> bytes | None:
        """Bring a piece of a file over; the digest of what was read, as `fill` gives it.

        Raises:
            ShortSource: the file became shorter.
        """
        if not self._digest or content.is_sparse(status):
            self.span(fd, out, span, channel)
            return None
        digest = content.DIGESTS[self._digest]()
        self._hashing(fd, out, span, digest, channel)
        return digest.digest()

    def _hashing(
        self,
        fd: int,
        out: int,
        span: tuple[int, int],
        digest: content.Digest,
        channel: HelperChannel,
    ) -> None:
        content.copy_hashing(fd, out, span, digest, lambda n: channel.count(Counter.COPIED, 0, n))

    def span(self, fd: int, out: int, span: tuple[int, int], channel: HelperChannel) -> None:
        """Bring over the data between two offsets and leave holes as they are."""
        done = 0
        for data in content.data_spans(fd, *span):
            self._data(fd, out, data, channel)
            done += data[1] - data[0]
        channel.count(Counter.COPIED, 0, span[1] - span[0] - done)

    def _data(self, fd: int, out: int, span: tuple[int, int], channel: HelperChannel) -> None:
        content.copy_range(
            fd, out, span, self._ways, lambda moved: channel.count(Counter.COPIED, 0, moved)
        )


def kinds(source: int, names: list[str]) -> Iterator[tuple[str, int]]:
    """Give the file types of those of `names` that are still in an open directory."""
    for name in names:
        with suppress(FileNotFoundError):
            yield name, kind_of(source, name)


def kind_of(directory: int, name: str) -> int:
    """Tell the file type of an entry."""
    return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
