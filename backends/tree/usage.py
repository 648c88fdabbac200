"""Measure a tree in one pass: bytes, allocated bytes, files, directories, links."""

import errno
import os
import struct
import time
from collections import Counter as Tally
from dataclasses import dataclass, field

from backends.fs import BLOCK_BYTES, reason_of
from backends.fs.native import Scanned
from backends.tree.files import Anchor, join
from backends.tree.plain import age_class
from backends.tree.processes import (
    DEFAULT_EFFORT,
    REPORT_SECONDS,
    Backlog,
    Effort,
    HelperChannel,
    HelperPool,
    Message,
    Sorter,
)
from core.jobs import Control, Counter

#: Most unreadable entries that a result names.
UNREADABLE_NAMED = 100
#: Most directories in one batch.
BATCH_DIRECTORIES = 64
#: First-level names whose sums are kept to find the biggest.
TOP_KEPT = 65536

_INODE = struct.Struct(">QQQQqQ")
#: Errors of an entry that vanished or was replaced since it was listed.
VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Usage:
    """What a tree holds. A hard-linked file counts once in bytes and once in files.

    `size_bytes` is what files hold: their lengths without holes (`backends.fs.space`).
    `allocated_bytes` is what the file system allocated for all entries, including directories.
    `histogram` counts files by the bit length of their length: key 0 holds empty files, key n those
    from 2**(n-1) to 2**n - 1 bytes. `ages` has files and bytes by the bit length of the days since
    they were modified: key 0 is less than one day. `top` names the biggest first-level directories,
    with bytes and files below them (hard links are counted under each name there). `complete` is
    False when the deadline came first or something could not be read: the numbers are then lower
    bounds.
    """

    size_bytes: int = 0
    allocated_bytes: int = 0
    files: int = 0
    directories: int = 0
    links: int = 0
    others: int = 0
    complete: bool = True
    unreadable: int = 0
    unreadable_named: list[tuple[str, str]] = field(default_factory=list)
    mounts: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    ages: dict[int, tuple[int, int]] = field(default_factory=dict)
    top: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """The number of all entries, without the root."""
        return self.files + self.directories + self.links + self.others


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageOptions:
    """What to measure beside the sums, and how hard to work.

    Ages count back from `ages_at` (seconds of the epoch); 0 counts none.
    """

    histogram: bool = False
    ages_at: int = 0
    top: int = 0
    cross_mounts: bool = False
    effort: Effort = DEFAULT_EFFORT


def measure_tree(
    fd: int,
    *,
    control: Control,
    deadline: float | None = None,
    options: UsageOptions = UsageOptions(),
) -> Usage:
    """Measure the tree below the directory `fd`, without its root; hard links count once.

    At `deadline` (seconds of `time.monotonic`) it returns what it has, marked as not complete.
    Costs one stat per entry; memory does not grow with the tree.

    Raises:
        Interrupted: the control says stop.
    """
    anchor = Anchor.duplicate(fd, cross_mounts=options.cross_mounts)
    return _Measurement(anchor, control, options).run(deadline)


class _Measurement:
    """The parent's side: pending directories and sums."""

    def __init__(self, anchor: Anchor, control: Control, options: UsageOptions) -> None:
        self._anchor = anchor
        self._control = control
        self._options = options
        self._pending = Backlog()
        self._inodes = Sorter()
        self._top: Tally[str] = Tally()
        self._top_files: Tally[str] = Tally()
        self._histogram: Tally[int] = Tally()
        self._ages: dict[int, tuple[int, int]] = {}
        self._size = options.effort.count()
        self.usage = Usage()

    def run(self, deadline: float | None) -> Usage:
        self._pending.push("")
        work = UsageScan(self._anchor, self._options)
        try:
            with HelperPool(
                work,
                self._control,
                effort=self._options.effort,
                size=self._size,
                own_fds=[self._anchor.fd],
            ) as pool:
                ended = pool.run(self._next_batch, self._on_reply, deadline)
            self.usage.complete = ended and not self.usage.unreadable
            self._finish()
        finally:
            self._pending.close()
            self._inodes.close()
        return self.usage

    def _next_batch(self) -> Message | None:
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        batch: list[str] = []
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        return batch or None

    def _on_reply(self, reply: Message) -> None:
        sums, subdirectories, inodes, unreadable, extras = reply
        usage = self.usage
        usage.size_bytes += sums[0]
        usage.allocated_bytes += sums[1]
        usage.files += sums[2]
        usage.links += sums[3]
        usage.others += sums[4]
        usage.directories += len(subdirectories)
        usage.mounts += sums[5]
        for path in subdirectories:
            self._pending.push(path)
        for inode in inodes:
            self._inodes.add(_INODE.pack(*inode))
        for path, reason in unreadable:
            self._add_unreadable(path, reason)
        self._histogram.update(extras[0])
        self._add_top(extras[1])
        _add_ages(self._ages, extras[2])
        self._control.count(Counter.LISTED, sum(sums[2:5]) + len(subdirectories), sums[0])

    def _add_unreadable(self, path: str, reason: str) -> None:
        self.usage.unreadable += 1
        self._control.fault(path, reason)
        if len(self.usage.unreadable_named) < UNREADABLE_NAMED:
            self.usage.unreadable_named.append((path, reason))

    def _add_top(self, sums: dict[str, list[int]]) -> None:
        for name, (size_bytes, files) in sums.items():
            self._top[name] += size_bytes
            self._top_files[name] += files
        if len(self._top) > 2 * TOP_KEPT:
            self._top = Tally(dict(self._top.most_common(TOP_KEPT)))

    def _finish(self) -> None:
        last = b""
        for record in self._inodes:
            if record[:16] != last:
                last = record[:16]
                _, _, size_bytes, blocks, modified, length = _INODE.unpack(record)
                self.usage.size_bytes += size_bytes
                self.usage.allocated_bytes += blocks * BLOCK_BYTES
                self.usage.files += 1
                self._histogram[length.bit_length()] += bool(self._options.histogram)
                if self._options.ages_at:
                    age = age_class(self._options.ages_at, modified)
                    _add_ages(self._ages, {age: (1, size_bytes)})
        self.usage.histogram = {k: n for k, n in sorted(self._histogram.items()) if n}
        self.usage.ages = dict(sorted(self._ages.items()))
        biggest = self._top.most_common(self._options.top)
        self.usage.top = [(name, size, self._top_files[name]) for name, size in biggest]


def _add_ages(sums: dict[int, tuple[int, int]], more: dict[int, tuple[int, int]]) -> None:
    for age, (files, size_bytes) in more.items():
        known = sums.get(age, (0, 0))
        sums[age] = (known[0] + files, known[1] + size_bytes)


class UsageScan:
    """The helper's side: list directories and stat their entries."""

    def __init__(self, anchor: Anchor, options: UsageOptions) -> None:
        self._anchor = anchor
        self._options = options
        self._loops = options.effort.loops
        self._due = 0.0

    def __call__(self, batch: Message, channel: HelperChannel) -> Message:
        """Measure a batch of directories; reply in parts when it takes long."""
        sums = _BatchSums(self._options)
        self._due = time.monotonic() + REPORT_SECONDS
        for path in batch:
            try:
                sums = self._scan(path, sums, channel)
            except OSError as error:
                sums.add_error(path, error)
        return sums.reply()

    def _scan(self, path: str, sums: "_BatchSums", channel: HelperChannel) -> "_BatchSums":
        fd = self._anchor.open(path)
        try:
            for piece in self._loops.scan(fd, now=self._options.ages_at):
                sums.add(path, piece)
                if time.monotonic() >= self._due:
                    channel.reply(sums.reply())
                    sums = _BatchSums(self._options)
                    self._due = time.monotonic() + REPORT_SECONDS
        finally:
            os.close(fd)
        return sums


class _BatchSums:
    """The sums of a batch, as they are sent to the parent."""

    def __init__(self, options: UsageOptions) -> None:
        self._options = options
        self._sums = [0, 0, 0, 0, 0, 0]
        self._below: list[str] = []
        self._inodes: list[tuple[int, int, int, int, int, int]] = []
        self._ages: dict[int, tuple[int, int]] = {}
        self._unreadable: list[tuple[str, str]] = []
        self._histogram: Tally[int] = Tally()
        self._top: dict[str, list[int]] = {}

    def reply(self) -> Message:
        extras = (dict(self._histogram), self._top, self._ages)
        return (self._sums, self._below, self._inodes, self._unreadable, extras)

    def add_error(self, path: str, error: OSError) -> None:
        if error.errno == errno.EXDEV:
            self._sums[5] += 1
        elif error.errno not in VANISHED:
            self._unreadable.append((path, reason_of(error)))

    def add(self, path: str, piece: Scanned) -> None:
        """Add a piece of a directory."""
        size_bytes, blocks, files, links, others, below, inodes, failed, histogram, _, ages = piece
        for number, value in enumerate((size_bytes, blocks * BLOCK_BYTES, files, links, others)):
            self._sums[number] += value
        self._below += [join(path, name) for name in below]
        self._inodes += inodes
        self._unreadable += [(join(path, name), os.strerror(number)) for name, number in failed]
        if self._options.histogram:
            self._histogram.update(histogram)
        _add_ages(self._ages, ages)
        if self._options.top and path:
            top = self._top.setdefault(path.partition("/")[0], [0, 0])
            top[0] += size_bytes + sum(inode[2] for inode in inodes)
            top[1] += files + len(inodes)
