"""Lay a finished copy over a live tree by renames; then directories get their attributes.

One rename(2) replaces each file, so a reader finds the old one or the new one. Entries that the
result must not have are renamed too, into a directory that the caller deletes afterwards. After a
stop at any instruction the same call continues: moved entries are no longer in the staged tree.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from backends.fs import reason_of
from backends.tree.copy.batches import seals
from backends.tree.copy.copier import Copier
from backends.tree.copy.ledger import Ledger
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.target import CopyTarget, ends_job, job_failure
from backends.tree.copy.work import CopyWork
from backends.tree.files import (
    FLAGS_LOCKING,
    Anchor,
    AttributeSupport,
    join,
    read_flags,
    set_flags,
    split_name,
    stat_entry,
    unlock,
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
from backends.tree.selection import Selection, SkipReason
from core.jobs import Control, Counter

#: Most directories in one batch.
BATCH_DIRECTORIES = 16
#: Most entries that only the target has in one batch.
BATCH_EXTRAS = 256
_INSPECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OverlayTrees:
    """Descriptors: source of the copy, the copy, the live tree, and where removed entries go."""

    source: int
    staged: int
    live: int
    displaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayOptions:
    """How to lay over: the selection of the copy, and whether extra entries are removed.

    Without `seal`, directories that existed before keep their attributes.
    """

    selection: Selection
    drop_extra: bool = False
    seal: bool = True
    seal_root: bool = True
    effort: Effort = DEFAULT_EFFORT


@dataclass(slots=True)
class OverlayResult:
    """What was done: entries moved in (a new directory is one), entries removed, failures."""

    moved: int = 0
    dropped: int = 0
    failed: int = 0


def apply_overlay(
    trees: OverlayTrees, *, control: Control, manifest: TreeManifest, options: OverlayOptions
) -> OverlayResult:
    """Move the staged tree of a copy with this manifest over the live tree, and sync it to disk.

    Entries that cannot be moved are reported as faults and counted. Costs one rename per entry
    below directories that both trees have, and one for each directory that is new.

    Raises:
        Interrupted: the control says stop; the same call continues.
        NoSpace, QuotaExceeded, BackendFailed: the live tree accepts no more entries.
    """
    links = Sorter()
    try:
        return _OverlayRun(trees, control, Ledger(manifest, links), options).run()
    finally:
        links.close()


class _OverlayRun:
    """The parent's side."""

    def __init__(
        self, trees: OverlayTrees, control: Control, ledger: Ledger, options: OverlayOptions
    ) -> None:
        self._trees = trees
        self._control = control
        self._ledger = ledger
        self._options = options
        self._pending = Backlog()
        self._result = OverlayResult()

    def run(self) -> OverlayResult:
        self._pending.push("")
        trees, effort = self._trees, self._options.effort
        try:
            with HelperPool(
                OverlayWork(trees, self._options),
                self._control,
                effort=effort,
                size=effort.count(),
                keep_fds=[trees.source, trees.staged, trees.live, trees.displaced],
            ) as pool:
                pool.run(self._next_batch, self._on_reply)
                if self._options.drop_extra:
                    pool.run_all(self._extras(), self._on_reply)
                if self._options.seal:
                    pool.run_all(seals(self._ledger), lambda _: None)
                pool.run_all(iter([("sync",)]), lambda _: None)
        finally:
            self._pending.close()
        return self._result

    def _next_batch(self) -> Message | None:
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("merge", batch) if batch else None

    def _extras(self) -> Iterator[Message]:
        batch: list[str] = []
        for _, path, _ in self._ledger.notes(SkipReason.EXTRA):
            batch.append(path)
            if len(batch) == BATCH_EXTRAS:
                yield ("drop", batch)
                batch = []
        yield ("drop", batch)

    def _on_reply(self, reply: Message) -> None:
        moved, dropped, below, failed = reply
        for path in below:
            self._pending.push(path)
        self._result.moved += moved
        self._result.dropped += dropped
        self._result.failed += len(failed)
        self._control.count(Counter.COPIED, moved)
        self._control.count(Counter.DELETED, dropped)
        self._control.count(Counter.FAILED, len(failed))
        for path, reason in failed:
            self._control.fault(path, reason)


class OverlayWork:
    """The helper's side: processes one batch at a time."""

    def __init__(self, trees: OverlayTrees, options: OverlayOptions) -> None:
        self._staged = Anchor(trees.staged)
        self._live = Anchor(trees.live)
        self._displaced = trees.displaced
        self._selection = options.selection
        source = Anchor(trees.source)
        target = CopyTarget(self._live, trust=False, granularity_ns=1)
        copier = Copier(source, target, inherits=False, effort=options.effort)
        self._copy_work = CopyWork(source, self._live, copier, seal_root=options.seal_root)

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Process one batch: `merge` or `drop` paths; all other kinds are those of a copy."""
        kind, *rest = message
        if kind not in ("merge", "drop"):
            return self._copy_work(message, channel)
        self._moved = self._dropped = 0
        self._below: list[str] = []
        self._failed: list[tuple[str, str]] = []
        operation = self._merge if kind == "merge" else self._drop
        for path in rest[0]:
            self._guard(path, partial(operation, path))
        return self._moved, self._dropped, self._below, self._failed

    def _guard(self, path: str, operation: Callable[[], None]) -> None:
        try:
            operation()
        except OSError as error:
            if ends_job(error):
                raise job_failure(error) from error
            self._failed.append((path, reason_of(error)))

    def _merge(self, path: str) -> None:
        """Move the entries of a directory that both trees have."""
        staged = self._staged.open(path)
        try:
            live = self._live.open(path)
            try:
                for name in sorted(os.listdir(staged)):
                    below = join(path, name)
                    self._guard(below, partial(self._move_entry, below, staged, live))
            finally:
                os.close(live)
        finally:
            os.close(staged)

    def _move_entry(self, path: str, staged: int, live: int) -> None:
        name = split_name(path)[1]
        here = os.stat(name, dir_fd=staged, follow_symlinks=False)
        there = stat_entry(name, live)
        directories = (stat.S_ISDIR(here.st_mode), bool(there and stat.S_ISDIR(there.st_mode)))
        if all(directories):
            self._below.append(path)
            return
        if there is not None and any(directories):
            self._displace(name, live)
        _rename((name, staged), (name, live))
        self._moved += 1

    def _displace(self, name: str, live: int) -> None:
        _rename((name, live), (uuid4().hex, self._displaced))

    def _drop(self, path: str) -> None:
        """Remove an entry and those below it, except those that the rules protect."""
        if not self._selection.restricts:
            with self._parent_of(path) as (fd, name):
                if stat_entry(name, fd) is not None:
                    self._displace(name, fd)
                    self._dropped += 1
            return
        for below in reversed(self._unprotected(path)):
            self._drop_one(below)

    @contextmanager
    def _parent_of(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the live directory that contains an entry."""
        directory, name = split_name(path)
        fd = self._live.open(directory)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _unprotected(self, top: str) -> list[str]:
        """Return an entry and those below it that the rules do not protect, parents first."""
        paths, pending = [], [top]
        while pending:
            path = pending.pop()
            with self._parent_of(path) as (fd, name):
                status = stat_entry(name, fd)
            if status is None or not self._selection.includes(path, status):
                continue
            paths.append(path)
            if stat.S_ISDIR(status.st_mode):
                below = self._live.open(path)
                try:
                    pending += [join(path, name) for name in os.listdir(below)]
                finally:
                    os.close(below)
        return paths

    def _drop_one(self, path: str) -> None:
        with self._parent_of(path) as (fd, name):
            status = stat_entry(name, fd)
            if status is None:
                return
            if not stat.S_ISDIR(status.st_mode):
                self._displace(name, fd)
            elif not self._is_empty(path):  # it contains entries that the rules protect
                return
            else:
                os.rmdir(name, dir_fd=fd)
            self._dropped += 1

    def _is_empty(self, path: str) -> bool:
        fd = self._live.open(path)
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)


def _rename(old: tuple[str, int], new: tuple[str, int]) -> None:
    """Rename an entry; lift meanwhile what forbids it (flags, a directory without write access)."""
    try:
        os.rename(old[0], new[0], src_dir_fd=old[1], dst_dir_fd=new[1])
    except PermissionError:
        unlock(new[1])
        unlock(old[1])
        _unlock_entry(*new)
        _rename_locked(old, new)


def _unlock_entry(name: str, directory: int) -> None:
    status = stat_entry(name, directory)
    if status is None or not stat.S_ISREG(status.st_mode):
        return
    fd = os.open(name, _INSPECT, dir_fd=directory)
    try:
        unlock(fd)
    finally:
        os.close(fd)


def _rename_locked(old: tuple[str, int], new: tuple[str, int]) -> None:
    status = os.stat(old[0], dir_fd=old[1], follow_symlinks=False)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        os.rename(old[0], new[0], src_dir_fd=old[1], dst_dir_fd=new[1])
        return
    fd = os.open(old[0], _INSPECT, dir_fd=old[1])
    try:
        flags = read_flags(fd, AttributeSupport()) & FLAGS_LOCKING
        unlock(fd)
        if stat.S_ISDIR(status.st_mode):
            os.fchmod(fd, status.st_mode | stat.S_IRWXU)
        try:
            os.rename(old[0], new[0], src_dir_fd=old[1], dst_dir_fd=new[1])
        finally:
            if stat.S_ISDIR(status.st_mode):
                os.fchmod(fd, stat.S_IMODE(status.st_mode))
            if flags:
                set_flags(fd, flags, FLAGS_LOCKING)
    finally:
        os.close(fd)
