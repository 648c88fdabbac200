"""The helper's side of a copy: copy the entries of directories, attributes included.

The modification time of a file is set last. So a target with the length and time of its source is
complete: that is how a resumed copy recognises what it has. Files with several names are only
reported: the parent links them when all names are known.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from backends.fs import held_bytes, reason_of
from backends.tree.copy.pieces import CopiedFile, Digests, Span
from backends.tree.copy.receipt import Loss, Noted, Receipt
from backends.tree.copy.target import (
    AttributeWriter,
    CopyTarget,
    DirectoryPair,
    ends_job,
    job_failure,
)
from backends.tree.fast import Plain
from backends.tree.files import (
    GONE,
    Anchor,
    AttributeSupport,
    Changed,
    ShortSource,
    changed_since,
    content,
    has_xattrs,
    join,
    read_flags,
    split_name,
    stat_entry,
)
from backends.tree.processes import Effort, HelperChannel
from core.jobs import Counter

#: Files from this size on are reported to the parent, which sends each to one helper.
BIG_BYTES = 32 * 1024 * 1024
#: How often a file that changes while it is read is tried.
TRIES_MAX = 3
KEPT_CHANGING = "The file kept changing while it was copied."
AS_MET = "The file changed while it was copied; the copy has what was met."
VANISHED = "It was removed or replaced before its turn; the copy does not have it."
WITHDRAWN = "It became unreadable before its turn; the copy does not have it."

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
    """Copies the entries of directories from one root to another; each helper has one.

    `since_ns` is the moment from which on changes of the source are no failures; None: they are.
    """

    def __init__(
        self,
        source: Anchor,
        target: CopyTarget,
        *,
        inherits: bool,
        effort: Effort,
        digest: str = "",
        since_ns: int | None = None,
    ) -> None:
        self._source = source
        self._since = since_ns
        self.target = target
        self._inherits = inherits
        self.content = ContentCopier(digest)
        self._digests = bool(digest)
        self._support = AttributeSupport()
        self.loops = effort.loops
        self._throttle = effort.throttle
        self._user = os.geteuid()
        self._own_group = os.getegid()
        self._new_group = -1
        self._noatime = os.O_NOATIME if self._user == 0 else 0
        self.begin_batch()

    def begin_batch(self) -> None:
        """Start a batch with an empty receipt."""
        self.receipt = Receipt()
        self.links: list[tuple[int, int, str]] = []
        self.big: list[str] = []
        self.digests: list[CopiedFile] = []
        self.noted: list[Noted] = []
        self._writer = AttributeWriter(self.receipt, self._support)

    def directory(self, path: str, names: list[str] | None, channel: HelperChannel) -> None:
        """Copy the entries of a directory, or those of `names`, but not what is below them."""
        try:
            pair = self._open(path, new=names is None)
        except OSError as error:
            self._record_failure(path, error, channel)
            return
        try:
            if names is None:
                self._all(pair, channel)
            for name in names or []:
                self._entry(pair, name, 0, channel)
        except OSError as error:
            self._record_failure(path, error, channel)
        finally:
            os.close(pair.source)
            os.close(pair.target)

    def _open(self, path: str, *, new: bool = False) -> DirectoryPair:
        source = self._source.open(path)
        try:
            open_target = self.target.new_directory if new else self.target.directory
            target = open_target(path)
        except BaseException:
            os.close(source)
            raise
        self._new_group = self._group_of_new_files(target)
        return DirectoryPair(path, source, target)

    def _group_of_new_files(self, target: int) -> int:
        """Return the group that new files in an open directory get."""
        status = os.fstat(target)
        return status.st_gid if status.st_mode & stat.S_ISGID else self._own_group

    def _all(self, pair: DirectoryPair, channel: HelperChannel) -> None:
        """Copy a whole directory, plain files by the fast loop."""
        for files, size_bytes, others in self.loops.copy(
            pair.source, pair.target, self._plain_rule(), channel.stop_flag
        ):
            self.receipt.files += files
            self.receipt.size_bytes += size_bytes
            channel.count(Counter.COPIED, files, size_bytes)
            for name, kind in others:
                self._entry(pair, name, kind, channel)

    def _plain_rule(self) -> Plain | None:
        """Return which files the fast loop may copy; None when the full rules apply to each file.

        They apply when files inherit an ACL or get a digest. They also apply under a limit, where a
        thousand files at once are too many.
        """
        if (
            self._inherits
            or self._digests
            or (self._throttle is not None and any(self._throttle.limits))
        ):
            return None
        support = self._support
        return Plain(
            self._user, self._new_group, bool(self._noatime), support.xattrs, support.flags
        )

    def _entry(self, pair: DirectoryPair, name: str, kind: int, channel: HelperChannel) -> None:
        try:
            kind = kind or kind_of(pair.source, name)
            if kind == stat.S_IFREG:
                self.regular(pair, name, channel)
            elif kind == stat.S_IFLNK:
                self.target.symlink(pair, name, self.receipt)
                channel.count(Counter.COPIED, 1)
            elif kind == stat.S_IFDIR:
                self.receipt.directories += 1
                channel.count(Counter.COPIED, 1)
            else:
                self.receipt.add_loss(_SKIPPED[kind], join(pair.path, name))
                channel.count(Counter.SKIPPED, 1)
        except OSError as error:
            if self._is_replaced(pair, name, kind):
                self.note_loss(Loss.VANISHED, join(pair.path, name), VANISHED)
            else:
                self._record_failure(join(pair.path, name), error, channel)

    def _is_replaced(self, pair: DirectoryPair, name: str, kind: int) -> bool:
        """Return whether the name is that of another kind of entry by now, which is tolerated."""
        if self._since is None or not kind:
            return False
        with suppress(OSError):
            return kind_of(pair.source, name) != kind
        return False

    def note_loss(self, loss: Loss, path: str, words: str) -> None:
        """Count a change of the source, and name it in the report."""
        self.receipt.add_loss(loss, path, words)
        self.noted.append((loss.value, path, words))

    def _record_failure(self, path: str, error: OSError, channel: HelperChannel) -> None:
        """Record an entry that could not be copied; raise when no other entry can be copied."""
        if ends_job(error):
            raise job_failure(error) from error
        if error.errno in GONE:
            self.note_loss(Loss.VANISHED, path, VANISHED)
            return
        if error.errno == errno.EXDEV:
            self.receipt.add_loss(Loss.MOUNT, path)
            return
        if self._is_withdrawn(path):
            self.note_loss(Loss.VANISHED, path, WITHDRAWN)
            return
        reason = reason_of(error)
        denied = error.errno in (errno.EACCES, errno.EPERM)
        self.receipt.add_loss(Loss.UNREADABLE if denied else Loss.FAILED, path, reason)
        channel.fault(path, reason)
        channel.count(Counter.FAILED, 1)

    def _is_withdrawn(self, path: str) -> bool:
        """Return whether a change since the beginning keeps the entry from being read."""
        if self._since is None or not changed_since(self._source, path, self._since):
            return False
        directory, name = split_name(path)
        try:
            fd = self._source.open(directory)
            try:
                os.close(os.open(name or ".", _READ, dir_fd=fd))
            finally:
                os.close(fd)
        except OSError:
            return True
        return False

    def guard(self, path: str, channel: HelperChannel, operation: Callable[[], T]) -> T | None:
        """Return what an operation on an entry returns; record a failure and return None."""
        try:
            return operation()
        except OSError as error:
            self._record_failure(path, error, channel)
        return None

    @contextmanager
    def opened(self, path: str) -> Iterator[tuple[DirectoryPair, str, int]]:
        """Open a file of the source and its directory on both sides."""
        directory, name = split_name(path)
        pair = self._open(directory)
        try:
            fd = self._read(name, pair.source)
            try:
                yield pair, name, fd
            finally:
                os.close(fd)
        finally:
            os.close(pair.source)
            os.close(pair.target)

    def regular(
        self,
        pair: DirectoryPair,
        name: str,
        channel: HelperChannel,
        *,
        big: bool = False,
        tries: int = TRIES_MAX,
    ) -> None:
        """Copy a regular file; without `big`, only report one that is big or has several names.

        Where changes are tolerated, the last try copies what it meets.
        """
        for left in reversed(range(tries)):
            as_met = not left and self._since is not None
            try:
                size = self._copy_or_report(pair, name, channel, big=big, as_met=as_met)
            except (Changed, ShortSource):
                continue
            if size is not None:
                self.receipt.files += 1
                self.receipt.size_bytes += size
                channel.count(Counter.COPIED, 1)
            return
        path = join(pair.path, name)
        self.receipt.add_loss(Loss.CHANGED, path)
        channel.fault(path, KEPT_CHANGING)
        channel.count(Counter.FAILED, 1)

    def _copy_or_report(
        self,
        pair: DirectoryPair,
        name: str,
        channel: HelperChannel,
        *,
        big: bool,
        as_met: bool,
    ) -> int | None:
        """Copy one file and return the bytes it holds; return None when it was only reported."""
        fd = self._read(name, pair.source)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Changed if self._since is None else FileNotFoundError(errno.ENOENT, name)
            if not big and status.st_nlink > 1:
                self.links.append((status.st_dev, status.st_ino, join(pair.path, name)))
                return None
            if not big and status.st_size >= BIG_BYTES and not self.content.clones(fd, pair.target):
                self.big.append(join(pair.path, name))
                return None
            return self._copy_open_file(pair, name, (fd, status), channel, as_met=as_met)
        finally:
            os.close(fd)

    def _copy_open_file(
        self,
        pair: DirectoryPair,
        name: str,
        opened: tuple[int, os.stat_result],
        channel: HelperChannel,
        *,
        as_met: bool,
    ) -> int:
        """Copy content and attributes of an open file to `name`, unless it is complete.

        Returns the bytes that it holds. A copy that is not complete is removed again.
        """
        fd, status = opened
        out = self.target.create(pair, name, status)
        path = join(pair.path, name)
        if out is None:
            self.receipt.reused += 1
            held = held_bytes(status, fd)
            channel.count(Counter.COPIED, 0, held)
            self.record_digest(path, status.st_size, None)
            return held
        try:
            digest = self.content.copy_file(fd, out, status, channel, as_met=as_met)
            self._check_unchanged(path, fd, status, as_met=as_met)
            self.write_attributes(path, fd, out, status)
            size = self.content.length_of(out) if as_met else status.st_size
        except (Changed, ShortSource, OSError):
            self.target.discard(pair, name)
            raise
        finally:
            os.close(out)
        self.record_digest(path, size, digest)
        return held_bytes(status, fd) if size == status.st_size else size

    # -- Pieces of very big files ------------------------------------------------------------------
    def begin_pieces(self, pair: DirectoryPair, name: str, status: os.stat_result) -> bool:
        """Make a file of the source's length for its pieces; return False when it is complete."""
        out = self.target.create(pair, name, status)
        if out is None:
            return False
        try:
            os.ftruncate(out, status.st_size)
        finally:
            os.close(out)
        return True

    def has_pieces(self, pair: DirectoryPair, name: str, status: os.stat_result) -> bool:
        """Return whether the target still has the file that was made for the pieces."""
        there = stat_entry(name, pair.target)
        if there is None:
            return False
        return stat.S_ISREG(there.st_mode) and there.st_size == status.st_size

    def piece(
        self,
        pair: DirectoryPair,
        name: str,
        opened: tuple[int, os.stat_result],
        span: Span,
        channel: HelperChannel,
    ) -> bytes | None:
        """Copy a piece to disk and return its digest, as `ContentCopier.copy_piece`."""
        fd, status = opened
        out = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pair.target)
        try:
            digest = self.content.copy_piece(fd, out, span, status, channel)
            os.fdatasync(out)
        finally:
            os.close(out)
        return digest

    def finish_pieces(
        self, pair: DirectoryPair, name: str, opened: tuple[int, os.stat_result]
    ) -> None:
        """Set the attributes of a file whose pieces are all on disk."""
        fd, status = opened
        out = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pair.target)
        try:
            self.write_attributes(join(pair.path, name), fd, out, status, fresh=False)
        finally:
            os.close(out)

    def discard(self, path: str) -> None:
        """Remove the pieces of a file that cannot be completed."""
        directory, name = split_name(path)
        with suppress(OSError):
            target = self.target.directory(directory)
            try:
                self.target.discard(DirectoryPair(directory, -1, target), name)
            finally:
                os.close(target)

    def directory_writer(self) -> AttributeWriter:
        """Return what sets the attributes of directories."""
        return AttributeWriter(self.receipt, AttributeSupport())

    def _check_unchanged(self, path: str, fd: int, status: os.stat_result, *, as_met: bool) -> None:
        """Compare a file with its attributes before it was read; note a change that is as met."""
        try:
            content.check_unchanged(fd, status)
        except Changed:
            if not as_met:
                raise
            self.note_loss(Loss.AS_MET, path, AS_MET)

    def record_digest(self, path: str, size_bytes: int, digest: bytes | Digests | None) -> None:
        """Record a copied file with its digest, where the copy takes digests."""
        if self._digests:
            self.digests.append((path, size_bytes, digest))

    def _read(self, name: str, directory: int) -> int:
        try:
            return os.open(name, _READ | self._noatime, dir_fd=directory)
        except PermissionError as error:
            if not self._noatime or error.errno != errno.EPERM:
                raise
        self._noatime = 0  # root of a user namespace may not use O_NOATIME
        return os.open(name, _READ, dir_fd=directory)

    def write_attributes(
        self, path: str, fd: int, out: int, status: os.stat_result, *, fresh: bool = True
    ) -> None:
        """Set the attributes of a file, of a fresh one with as few calls as possible; time last."""
        plain = (
            fresh
            and os.fstat(out).st_gid == self._new_group
            and status.st_uid == self._user
            and status.st_gid == self._new_group
            and not status.st_mode & _SPECIAL
            and not self._inherits
        )
        if not plain or has_xattrs(fd, self._support):
            self._writer.copy_all(path, fd, out, status)
            return
        self._writer.set_times(path, out, status)
        self._writer.set_flags(path, out, read_flags(fd, self._support))


class ContentCopier:
    """Copies content, keeps holes, and learns which methods the two file systems support.

    `digest` names one of `content.DIGESTS`; "" takes none.
    """

    def __init__(self, digest: str = "") -> None:
        self._digest = digest
        self._methods = content.CopyMethods()
        self._cloning: bool | None = None

    def clones(self, fd: int, directory: int) -> bool:
        """Return whether one call can share the content of big files here; tried once."""
        if self._cloning is None:
            self._cloning = content.clones(fd, directory)
        return self._cloning and self._methods.clone

    def length_of(self, out: int) -> int:
        """Return the length of the copy that `copy_file` has made."""
        return os.fstat(out).st_size

    def copy_file(
        self,
        fd: int,
        out: int,
        status: os.stat_result,
        channel: HelperChannel,
        *,
        as_met: bool = False,
    ) -> bytes | None:
        """Copy the content of a whole file and return the digest of what was read.

        Returns None when no digest is configured, or when not all bytes passed through this
        process: for files that share extents, and for files with holes. With `as_met`, a file that
        becomes shorter is copied up to its end.

        Raises:
            ShortSource: the file became shorter, or a small one longer.
        """
        digest = content.DIGESTS[self._digest]() if self._digest else None
        try:
            if not self._copy_all(fd, out, status, (channel, digest), as_met=as_met):
                digest = None
        except ShortSource:
            if not as_met:
                raise
            if content.is_sparse(status):
                digest = None
        if as_met and digest is None and os.fstat(out).st_size > (end := os.fstat(fd).st_size):
            os.ftruncate(out, end)  # a file with holes has its length before its content
        return digest.digest() if digest else None

    def _copy_all(
        self,
        fd: int,
        out: int,
        status: os.stat_result,
        taken: tuple[HelperChannel, content.Digest | None],
        *,
        as_met: bool,
    ) -> bool:
        """Copy by the cheapest method; return whether every byte went into the digest."""
        size, (channel, digest) = status.st_size, taken
        if size <= content.SMALL_BYTES and not content.is_sparse(status):
            content.copy_small(fd, out, size, digest, as_met=as_met)
            channel.count(Counter.COPIED, 0, size)
        elif content.clone(fd, out, self._methods):
            channel.count(Counter.COPIED, 0, held_bytes(status, fd))
            return False
        elif content.is_sparse(status):
            os.ftruncate(out, size)
            self._copy_data(fd, out, (0, size), channel, held_bytes(status, fd))
            return False
        elif digest:
            self._copy_hashing(fd, out, (0, size), digest, channel)
        else:
            self._copy_range(fd, out, (0, size), channel)
        return digest is not None

    def copy_piece(
        self,
        fd: int,
        out: int,
        span: tuple[int, int],
        status: os.stat_result,
        channel: HelperChannel,
    ) -> bytes | None:
        """Copy a piece of a file and return the digest of what was read, or None as `copy_file`.

        Raises:
            ShortSource: the file became shorter.
        """
        if not self._digest or content.is_sparse(status):
            held = 0 if content.is_sparse(status) else span[1] - span[0]
            self._copy_data(fd, out, span, channel, held)
            return None
        digest = content.DIGESTS[self._digest]()
        self._copy_hashing(fd, out, span, digest, channel)
        return digest.digest()

    def _copy_hashing(
        self,
        fd: int,
        out: int,
        span: tuple[int, int],
        digest: content.Digest,
        channel: HelperChannel,
    ) -> None:
        content.copy_hashing(fd, out, span, digest, lambda n: channel.count(Counter.COPIED, 0, n))

    def _copy_data(
        self, fd: int, out: int, span: tuple[int, int], channel: HelperChannel, held: int
    ) -> None:
        """Copy the data between two offsets, which hold so many bytes; holes stay holes.

        Blocks that were allocated and never written count as done at the end.
        """
        done = 0
        for data in content.data_spans(fd, *span):
            self._copy_range(fd, out, data, channel)
            done += data[1] - data[0]
        channel.count(Counter.COPIED, 0, max(0, held - done))

    def _copy_range(self, fd: int, out: int, span: tuple[int, int], channel: HelperChannel) -> None:
        content.copy_range(
            fd, out, span, self._methods, lambda moved: channel.count(Counter.COPIED, 0, moved)
        )


def kind_of(directory: int, name: str) -> int:
    """Return the file type of an entry."""
    return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
