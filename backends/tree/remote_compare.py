"""Compare a tree of another node with one here, as `compare` does.

The other node sends what it has of each directory: attributes, and digests where they are wanted.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from backends.fs import reason_of
from backends.tree.compare import (
    BIG_BYTES,
    Aspect,
    Change,
    CompareOptions,
    CompareWork,
    Comparison,
    Difference,
    compare_trees,
    ignore,
    slices,
)
from backends.tree.files import (
    DONE,
    Anchor,
    AttributeSupport,
    Frame,
    RemoteTree,
    content,
    join,
    opened_file,
    read_flags,
    read_xattrs,
    stat_entry,
    status_from_wire,
    status_to_wire,
)
from backends.tree.processes import HelperChannel, Message
from core.jobs import Control, Counter

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: A frame of entries has about this many bytes; an entry without extended attributes has fewer.
FRAME_BYTES = 512 * 1024
ENTRY_BYTES = 512
#: Attributes, extended attributes, flags.
Kept = tuple[list[int], dict[str, bytes], int]


def compare_sides(
    a: int | RemoteTree,
    b_fd: int,
    *,
    control: Control,
    options: CompareOptions,
    on_change: Callable[[Change], None] | None = None,
) -> Iterator[Difference]:
    """Yield how the tree at `b_fd` differs from one here or on another node, as `compare_trees`.

    Raises:
        Interrupted: the control says stop.
        NodeAway: the other node does not answer.
    """
    if isinstance(a, int):
        yield from compare_trees(a, b_fd, control=control, options=options, on_change=on_change)
        return
    b = Anchor.duplicate(b_fd)
    work = RemoteCompareWork(a, b, options)
    comparison = Comparison(work, [b.fd], control, options, on_change or ignore)
    try:
        yield from comparison.run()
    finally:
        comparison.close()


# -- The other node's side -------------------------------------------------------------------------
class FactSender:
    """Reads what another node needs to compare a tree with its own."""

    def __init__(self, source: Anchor, channel: HelperChannel, digest: str, *, opens: bool) -> None:
        self._source = source
        self._channel = channel
        self._digest = digest
        self._opens = opens
        self._support = AttributeSupport()

    def send(self, path: str) -> None:
        """Send the facts of a directory: its own, then those of its entries, slice by slice.

        Raises:
            OSError: it cannot be read.
        """
        fd = self._source.open(path)
        try:
            self._channel.send(["directory", *self._kept(fd, os.fstat(fd))])
            for names in slices(fd):
                self._send_entries(fd, names)
        finally:
            os.close(fd)

    def _send_entries(self, directory: int, names: list[str]) -> None:
        entries: list[list[Any]] = []
        size_bytes = 0
        for name in names:
            entry = self._entry(directory, name)
            entries.append(entry)
            size_bytes += ENTRY_BYTES + sum(map(len, entry[1][1].values())) if entry[1] else 0
            if size_bytes > FRAME_BYTES:
                self._channel.send(["entries", entries])
                entries, size_bytes = [], 0
        self._channel.send(["entries", entries])

    def _kept(self, fd: int, status: os.stat_result) -> Kept:
        xattrs, flags = read_xattrs(fd, self._support), read_flags(fd, self._support)
        return status_to_wire(status), xattrs, flags

    def _entry(self, directory: int, name: str) -> list[Any]:
        """Return name, attributes, text of a link, digest, and the errno of a failure."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and self._opens:
                return [name, *self._file(directory, name)]
            text = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as error:
            return [name, None, "", None, error.errno or 0]
        return [name, (status_to_wire(status), {}, 0), text, None, 0]

    def _file(self, directory: int, name: str) -> list[Any]:
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            status = os.fstat(fd)
            digest = None
            if self._digest and status.st_size < BIG_BYTES:
                digest = digest_of(fd, status.st_size, self._digest, self._channel)
            return [self._kept(fd, status), "", digest, 0]
        finally:
            os.close(fd)


def digest_of(fd: int, size: int, name: str, channel: HelperChannel) -> bytes:
    """Return the digest of an open file; empty where it is shorter by now.

    The empty counts that it sends show the other node that the work goes on.
    """
    digest = content.DIGESTS[name]()
    try:
        content.hash_span(fd, (0, size), digest, lambda _: channel.count(Counter.VERIFIED))
    except content.ShortSource:
        return b""
    return digest.digest()


# -- This node's side ------------------------------------------------------------------------------
class RemoteCompareWork(CompareWork):
    """A helper that compares with a tree of another node."""

    def __init__(self, remote: RemoteTree, b: Anchor, options: CompareOptions) -> None:
        super().__init__(Anchor(-1), b, options)
        self._remote = remote
        self._ctimes: dict[str, int] = {}

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """See `CompareWork`."""
        self._ctimes.clear()
        return super().__call__(message, channel)

    def is_changed(self, path: str, since_ns: int) -> bool:
        """See `CompareWork.is_changed`."""
        known = self._ctimes.get(path)
        return (
            known >= since_ns if known is not None else self._remote.changed_since(path, since_ns)
        )

    def _directory(self, path: str) -> None:
        self._channel.entry(path)
        frames = self._remote.ask("facts", path, self._options.digest or "", self._opens)
        _, *kept = next(frames)
        b = self._b.open(path)
        try:
            self._compare_kept(path, kept, b)
            if self._changes.get(path) == [Aspect.TIME.value]:
                del self._changes[path]  # entries came or went: they are named themselves
            self._compare_facts(path, b, frames)
        finally:
            os.close(b)

    def _compare_facts(self, path: str, b: int, frames: Iterator[Frame]) -> None:
        common = 0
        for kind, *rest in frames:
            if kind == DONE:
                break
            for name, *facts in rest[0] if kind == "entries" else ():
                common += self._compare_one(join(path, name), name, b, facts)
            self._reply()
            self._ctimes.clear()
        if common != sum(map(len, slices(b))):
            for names in slices(b):
                for name in self._remote.value("absent", path, names):
                    self._report(join(path, name), Aspect.EXTRA)
                self._reply()

    def _compare_one(self, path: str, name: str, b: int, facts: list[Any]) -> bool:
        """Compare one entry; return whether this side has one of its name."""
        kept, text, digest, failure = facts
        try:
            right = stat_entry(name, b)
            if kept is None:
                self._report(path, Aspect.UNREADABLE, reason_of(OSError(failure, "")))
                return True
            left = status_from_wire(kept[0])
            self._ctimes[path] = left.st_ctime_ns
            if right is not None:
                self._channel.count(Counter.VERIFIED, 1)
                self._compare_known(path, (name, b), kept, (text, digest), right)
            elif self._options.specials or not _is_special(left.st_mode):
                self._report(path, Aspect.MISSING)
        except OSError as error:
            self._report(path, Aspect.UNREADABLE, reason_of(error))
            return True
        return right is not None

    def _compare_known(
        self,
        path: str,
        where: tuple[str, int],
        kept: Kept,
        more: tuple[str, bytes | None],
        right: os.stat_result,
    ) -> None:
        left, (name, b), (text, digest) = status_from_wire(kept[0]), where, more
        kind = stat.S_IFMT(left.st_mode)
        if kind != stat.S_IFMT(right.st_mode):
            self._report(path, Aspect.TYPE)
        elif kind == stat.S_IFDIR:
            self._below.append(path)
        elif kind == stat.S_IFREG and self._opens:
            self._compare_open(path, (name, b), kept, digest)
            if self._options.digest and left.st_size >= BIG_BYTES:
                self._big.append(path)
        else:
            self._compare_status(path, left, right)
            if kind == stat.S_IFREG:
                self._compare_shape(path, left, right)
            elif kind == stat.S_IFLNK:
                self._report_unequal(path, Aspect.TARGET, text, os.readlink(name, dir_fd=b))

    def _compare_open(
        self, path: str, where: tuple[str, int], kept: Kept, digest: bytes | None
    ) -> None:
        fd = os.open(where[0], _READ, dir_fd=where[1])
        try:
            self._compare_kept(path, kept, fd)
            left, right = status_from_wire(kept[0]), os.fstat(fd)
            if digest is not None and left.st_size == right.st_size:
                own = self._own_digest(fd, right.st_size)
                self._report_unequal(path, Aspect.CONTENT, digest.hex(), own.hex())
            self._compare_shape(path, left, right)
        finally:
            os.close(fd)

    def _own_digest(self, fd: int, size: int) -> bytes:
        if self._options.from_disk:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self._channel.count(Counter.VERIFIED, 0, size)
        return digest_of(fd, size, self._options.digest or "", self._channel)

    def _compare_kept(self, path: str, kept: Kept, fd: int) -> None:
        wire, xattrs, flags = kept
        left = status_from_wire(wire)
        self._ctimes[path] = left.st_ctime_ns
        self._compare_status(path, left, os.fstat(fd))
        if Aspect.XATTR not in self._options.skip:
            self._report_unequal(path, Aspect.XATTR, xattrs, read_xattrs(fd, self._support[1]))
        if Aspect.FLAGS not in self._options.skip:
            self._report_unequal(path, Aspect.FLAGS, flags, read_flags(fd, self._support[1]))

    def _big_file(self, path: str) -> None:
        """Compare the content of a big file, whose attributes are compared already."""
        theirs, _ = self._remote.value("digest", path, self._options.digest)
        with opened_file(self._b, path) as fd:
            size = os.fstat(fd).st_size
            ours = self._own_digest(fd, size)
        self._report_unequal(path, Aspect.CONTENT, theirs.hex(), ours.hex())


def _is_special(mode: int) -> bool:
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
