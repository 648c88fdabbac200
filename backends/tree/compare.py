"""Compare two trees in every class of attributes. Verifies copies, and serves tests.

The comparison goes directory by directory. It compares each entry of the first side with the entry
of that name on the second. It then lists the second side: a name that the first side lacks is
reported. It compares content by size, or by a digest of every byte. Memory does not grow with the
entries of a directory.
"""

import os
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from backends.fs import BLOCK_BYTES, is_same_time, reason_of
from backends.tree.files import (
    Anchor,
    AttributeSupport,
    changed_since,
    content,
    join,
    read_flags,
    read_xattrs,
    split_name,
    stat_entry,
)
from backends.tree.processes import (
    DEFAULT_EFFORT,
    Backlog,
    Effort,
    HelperChannel,
    HelperPool,
    Message,
    Sorter,
)
from core.jobs import Control, Counter

#: Files from this size on are reported to the parent, which sends each to one helper.
BIG_BYTES = 32 * 1024 * 1024

#: A copy of a sparse file may have this much more on disk than the original: block sizes differ.
HOLES_SLACK_BYTES = 1024 * 1024

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: Most directories in one batch.
BATCH_DIRECTORIES = 16

#: Entries of a directory listed at a time.
SLICE_ENTRIES = 2_000

_PAIR = struct.Struct(">QQQQ")


class Aspect(StrEnum):
    """What two entries may differ in."""

    MISSING = "missing"
    EXTRA = "extra"
    TYPE = "type"
    SIZE = "size"
    CONTENT = "content"
    TARGET = "target"
    MODE = "mode"
    OWNER = "owner"
    TIME = "time"
    XATTR = "xattr"
    FLAGS = "flags"
    HOLES = "holes"
    LINK = "hard-link"
    UNREADABLE = "unreadable"


#: Aspects in which a difference means that data is missing, not only attributes.
DATA_ASPECTS = frozenset(
    {
        Aspect.MISSING,
        Aspect.TYPE,
        Aspect.SIZE,
        Aspect.CONTENT,
        Aspect.TARGET,
        Aspect.UNREADABLE,
    },
)


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One entry, one aspect, and the values of both sides in words."""

    path: str
    aspect: Aspect
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that changed since the given moment, and what differs therefore."""

    path: str
    aspects: tuple[Aspect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What to compare. `digest` names one of `content.DIGESTS`; None compares sizes only.

    With `from_disk`, files of the second tree are read from the storage again where their pages in
    memory are clean.

    `since_ns` is a moment of the first file system's clock. An entry of the first tree that changed
    at or after it is a change, not a difference; one that only that tree has is ignored, because a
    copy names it. None: every difference is one.
    """

    digest: str | None = "xxh3"
    skip: frozenset[Aspect] = frozenset()
    specials: bool = False
    from_disk: bool = False
    since_ns: int | None = None
    effort: Effort = DEFAULT_EFFORT


def compare_trees(
    a_fd: int,
    b_fd: int,
    *,
    control: Control,
    options: CompareOptions = CompareOptions(),
    on_change: Callable[[Change], None] | None = None,
) -> Iterator[Difference]:
    """Yield how the tree at `b_fd` differs from the tree at `a_fd`, roots included.

    Yields nothing when they are equal. Fifos, sockets and devices of `a_fd` are ignored unless
    `options.specials`. Memory grows with the differences, not with the trees. The descriptors must
    stay open until the last difference was yielded. `on_change` gets each entry of `a_fd` that
    differs because it changed since `options.since_ns`, while the trees are compared.

    Raises:
        Interrupted: the control says stop.
    """
    a, b = Anchor.duplicate(a_fd), Anchor.duplicate(b_fd)
    work = CompareWork(a, b, options)
    comparison = Comparison(work, [a.fd, b.fd], control, options, on_change or ignore)
    try:
        yield from comparison.run()
    finally:
        comparison.close()


def ignore(_: Change) -> None:
    """Drop a change."""


class Comparison:
    """The parent's side. It closes `own_fds`, the descriptors that `work` uses."""

    def __init__(
        self,
        work: "CompareWork",
        own_fds: list[int],
        control: Control,
        options: CompareOptions,
        on_change: Callable[[Change], None],
    ) -> None:
        self._on_change = on_change
        self._work = work
        self._own = own_fds
        self._control = control
        self._options = options
        self._pending = Backlog()
        self._big: deque[str] = deque()
        self._pairs = (Sorter(), Sorter())
        self._size = options.effort.count()
        self._differences: list[Difference] = []

    def close(self) -> None:
        """Remove what is on disk."""
        self._pending.close()
        for sorter in self._pairs:
            sorter.close()

    def run(self) -> Iterator[Difference]:
        """Compare, and yield what differs."""
        self._pending.push("")
        with HelperPool(
            self._work,
            self._control,
            effort=self._options.effort,
            size=self._size,
            own_fds=self._own,
        ) as pool:
            pool.run(self._next_batch, self._on_reply)
            if Aspect.LINK not in self._options.skip:
                self._compare_links()
        yield from self._differences

    def _next_batch(self) -> Message | None:
        if self._big:
            return ("file", [self._big.popleft()])
        batch: list[str] = []
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("directories", batch) if batch else None

    def _on_reply(self, reply: Message) -> None:
        below, big, differences, changes, pairs = reply
        for path, aspects in changes:
            self._on_change(Change(path, tuple(map(Aspect, aspects))))
        self._big.extend(big)
        for path in below:
            self._pending.push(path)
        for path, aspect, detail in differences:
            self._differences.append(Difference(path, Aspect(aspect), detail))
        for a, b, path in pairs:
            encoded = os.fsencode(path)
            self._pairs[0].add(_PAIR.pack(*a, *b) + encoded)
            self._pairs[1].add(_PAIR.pack(*b, *a) + encoded)

    def _compare_links(self) -> None:
        """Check that names of one file on one side are names of one file on the other side."""
        for sorter in self._pairs:
            last = (b"", b"")
            for record in sorter:
                pair = (record[:16], record[16:32])
                if pair[0] == last[0] and pair[1] != last[1]:
                    self._add_link(os.fsdecode(record[32:]))
                last = pair

    def _add_link(self, path: str) -> None:
        since = self._options.since_ns
        if since is not None and self._work.is_changed(path, since):
            self._on_change(Change(path, (Aspect.LINK,)))
        else:
            self._differences.append(Difference(path, Aspect.LINK, "linked on one side only"))


class CompareWork:
    """The helper's side: compares one directory or big file after another."""

    def __init__(self, a: Anchor, b: Anchor, options: CompareOptions) -> None:
        self._a = a
        self._b = b
        self._options = options
        # Only content, xattrs and flags need open files.
        self._opens = bool(options.digest) or not {Aspect.XATTR, Aspect.FLAGS} <= options.skip
        self._support = (AttributeSupport(), AttributeSupport())

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Compare a batch of directories, or one big file, and return what differs."""
        kind, paths = message
        self._clear()
        self._channel = channel
        compare = self._directory if kind == "directories" else self._big_file
        for path in paths:
            try:
                compare(path)
            except OSError as error:
                self._report(path, Aspect.UNREADABLE, reason_of(error))
        return self._take()

    def is_changed(self, path: str, since_ns: int) -> bool:
        """Return whether an entry of the first tree changed since a moment."""
        return changed_since(self._a, path, since_ns)

    def _clear(self) -> None:
        self._below: list[str] = []
        self._big: list[str] = []
        self._differing: list[tuple[str, str, str]] = []
        self._changes: dict[str, list[str]] = {}
        self._pairs: list[tuple[tuple[int, int], tuple[int, int], str]] = []

    def _report(self, path: str, aspect: Aspect, detail: object = "") -> None:
        if aspect in self._options.skip:
            return
        since = self._options.since_ns
        if path in self._changes or (since is not None and self.is_changed(path, since)):
            if aspect is not Aspect.MISSING:
                self._changes.setdefault(path, []).append(aspect.value)
        else:
            self._differing.append((path, aspect.value, str(detail)))

    def _report_unequal(self, path: str, aspect: Aspect, a: object, b: object) -> None:
        if a != b:
            self._report(path, aspect, f"{a} / {b}")

    def _directory(self, path: str) -> None:
        self._channel.entry(path)
        a = self._a.open(path)
        try:
            b = self._b.open(path)
            try:
                self._compare_opened(path, a, b, os.fstat(a), os.fstat(b))
                if self._changes.get(path) == [Aspect.TIME.value]:
                    del self._changes[path]  # entries came or went: they are named themselves
                self._compare_entries(path, a, b)
            finally:
                os.close(b)
        finally:
            os.close(a)

    def _big_file(self, path: str) -> None:
        directory, name = split_name(path)
        a = self._a.open(directory)
        try:
            b = self._b.open(directory)
            try:
                self._compare_files(path, name, a, b)
            finally:
                os.close(b)
        finally:
            os.close(a)

    def _compare_entries(self, path: str, a: int, b: int) -> None:
        """Compare the entries of an open directory, a slice of names at a time."""
        common = 0
        for names in slices(a):
            common += sum(self._compare_name(path, name, a, b) for name in names)
            self._reply()
        if common != sum(map(len, slices(b))):
            self._report_extra(path, a, b)

    def _compare_name(self, path: str, name: str, a: int, b: int) -> bool:
        """Compare the entries of one name; return whether the second side has one."""
        below = join(path, name)
        try:
            right = stat_entry(name, b)
            if right is not None:
                left = os.stat(name, dir_fd=a, follow_symlinks=False)
                self._channel.count(Counter.VERIFIED, 1)
                self._compare_entry(below, (a, b), left, right)
            elif self._options.specials or not _is_special(a, name):
                self._report(below, Aspect.MISSING)
        except OSError as error:
            self._report(below, Aspect.UNREADABLE, reason_of(error))
            return True
        return right is not None

    def _report_extra(self, path: str, a: int, b: int) -> None:
        for names in slices(b):
            for name in names:
                if stat_entry(name, a) is None:
                    self._report(join(path, name), Aspect.EXTRA)
            self._reply()

    def _reply(self) -> None:
        """Send what is known before the batch is done."""
        self._channel.reply(self._take())

    def _take(self) -> Message:
        """Return what was found since the last call."""
        changes = [(path, aspects) for path, aspects in self._changes.items() if aspects]
        found = self._below, self._big, self._differing, changes, self._pairs
        self._clear()
        return found

    def _compare_entry(
        self, path: str, sides: tuple[int, int], left: os.stat_result, right: os.stat_result
    ) -> None:
        kind = stat.S_IFMT(left.st_mode)
        name = split_name(path)[1]
        if kind != stat.S_IFMT(right.st_mode):
            self._report(path, Aspect.TYPE)
        elif kind == stat.S_IFDIR:
            self._below.append(path)
        elif kind == stat.S_IFREG and left.st_size >= BIG_BYTES and self._options.digest:
            self._big.append(path)
        elif kind == stat.S_IFREG and not self._opens:
            self._compare_status(path, left, right)
            self._compare_shape(path, left, right)
        elif kind == stat.S_IFREG:
            self._compare_files(path, name, *sides)
        else:
            self._compare_status(path, left, right)
            if kind == stat.S_IFLNK:
                targets = [os.readlink(name, dir_fd=side) for side in sides]
                self._report_unequal(path, Aspect.TARGET, *targets)

    def _compare_files(self, path: str, name: str, a: int, b: int) -> None:
        left = os.open(name, _READ, dir_fd=a)
        try:
            right = os.open(name, _READ, dir_fd=b)
            try:
                self._compare_open_files(path, left, right)
            finally:
                os.close(right)
        finally:
            os.close(left)

    def _compare_open_files(self, path: str, a: int, b: int) -> None:
        left, right = os.fstat(a), os.fstat(b)
        self._compare_opened(path, a, b, left, right)
        if left.st_size == right.st_size and self._options.digest:
            try:
                self._compare_content(path, a, b, left.st_size)
            except content.ShortSource:
                self._report(path, Aspect.CONTENT, "it became shorter while it was read")
        self._compare_shape(path, left, right)

    def _compare_shape(self, path: str, left: os.stat_result, right: os.stat_result) -> None:
        """Compare the length and the holes of two files, and note hard links."""
        if left.st_size != right.st_size:
            self._report(path, Aspect.SIZE, f"{left.st_size} / {right.st_size}")
        if content.is_sparse(left):
            extra = (right.st_blocks - left.st_blocks) * BLOCK_BYTES
            if extra > HOLES_SLACK_BYTES:
                self._report(path, Aspect.HOLES, f"{extra} bytes more on disk")
        if left.st_nlink > 1 or right.st_nlink > 1:
            inodes = (left.st_dev, left.st_ino), (right.st_dev, right.st_ino)
            self._pairs.append((*inodes, path))

    def _compare_content(self, path: str, a: int, b: int, size: int) -> None:
        if self._options.from_disk:
            os.posix_fadvise(b, 0, 0, os.POSIX_FADV_DONTNEED)
        name = self._options.digest or "xxh3"
        self._report_unequal(
            path, Aspect.CONTENT, self._digest(a, size, name), self._digest(b, size, name)
        )

    def _digest(self, fd: int, size: int, name: str) -> str:
        digest = content.DIGESTS[name]()

        def step(done: int) -> None:
            self._channel.count(Counter.VERIFIED, 0, done // 2)

        content.hash_span(fd, (0, size), digest, step)
        return digest.hexdigest()

    def _compare_opened(
        self, path: str, a: int, b: int, left: os.stat_result, right: os.stat_result
    ) -> None:
        """Compare all attributes of two open entries; xattrs and flags need the descriptors."""
        self._compare_status(path, left, right)
        if Aspect.XATTR not in self._options.skip:
            xattrs = read_xattrs(a, self._support[0]), read_xattrs(b, self._support[1])
            self._report_unequal(path, Aspect.XATTR, *xattrs)
        if Aspect.FLAGS not in self._options.skip:
            flags = read_flags(a, self._support[0]), read_flags(b, self._support[1])
            self._report_unequal(path, Aspect.FLAGS, *flags)

    def _compare_status(self, path: str, left: os.stat_result, right: os.stat_result) -> None:
        if left.st_mode != right.st_mode:
            self._report(path, Aspect.MODE, f"{left.st_mode:o} / {right.st_mode:o}")
        if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
            detail = f"{left.st_uid}:{left.st_gid} / {right.st_uid}:{right.st_gid}"
            self._report(path, Aspect.OWNER, detail)
        # The receipt of the copy names a time that the file system of the second tree cannot have.
        if not is_same_time(left.st_mtime_ns, right.st_mtime_ns):
            self._report_unequal(path, Aspect.TIME, left.st_mtime_ns, right.st_mtime_ns)


def slices(directory: int) -> Iterator[list[str]]:
    """Yield the names of an open directory, sorted within each slice."""
    with os.scandir(directory) as listing:
        while entries := list(islice(listing, SLICE_ENTRIES)):
            yield sorted(entry.name for entry in entries)


def _is_special(directory: int, name: str) -> bool:
    """Return whether no copy has an entry: a special file, or one that vanished meanwhile."""
    status = stat_entry(name, directory)
    if status is None:
        return True
    mode = status.st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
