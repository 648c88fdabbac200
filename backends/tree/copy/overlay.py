"""Lay a finished copy over a live tree: by renames, and then directories get their attributes.

Every file is replaced by one rename(2), so a reader finds the old one or the new one. What has no
place there any more is renamed away too, into a directory that the caller removes afterwards.
Stopped at any instruction it is taken up again: what was moved is gone from the staged tree.
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
from backends.tree.copy.target import CopyTarget, fatal, is_fatal
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

#: Most directories handed to a helper at a time.
BATCH_DIRECTORIES = 16
#: Most entries that only the target has, handed to a helper at a time.
BATCH_EXTRAS = 256


_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OverlayTrees:
    """Descriptors: the copy's source, the copy, the live tree, and where what goes is put."""

    source: int
    staged: int
    live: int
    displaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayOptions:
    """How to lay over: by what the copy was chosen, and whether extra entries go.

    Without `seal` directories that were there keep their attributes.
    """

    selection: Selection
    drop_extra: bool = False
    seal: bool = True
    seal_root: bool = True
    effort: Effort = DEFAULT_EFFORT


@dataclass(slots=True)
class OverlayResult:
    """What was done: entries moved in (a new directory is one), entries taken away, failures."""

    moved: int = 0
    dropped: int = 0
    failed: int = 0


def apply_overlay(
    trees: OverlayTrees, *, control: Control, manifest: TreeManifest, options: OverlayOptions
) -> OverlayResult:
    """Bring the staged tree of a copy with this manifest over the live one, and to disk.

    Entries that resist are told as faults and counted. Costs one rename per entry below
    directories that both trees have, and one for each directory that is new.

    Raises:
        Interrupted: the control says stop; the same call goes on.
        NoSpace, QuotaExceeded, BackendFailed: the live tree takes nothing any more.
    """
    links = Sorter()
    try:
        return _Laying(trees, control, Ledger(manifest, links), options).run()
    finally:
        links.close()


class _Laying:
    """The parent's side."""

    def __init__(
        self, trees: OverlayTrees, control: Control, ledger: Ledger, options: OverlayOptions
    ) -> None:
        self._trees = trees
        self._control = control
        self._ledger = ledger
        self._options = options
        self._pending = Backlog()
        self._done = OverlayResult()

    def run(self) -> OverlayResult:
        self._pending.push("")
        trees, effort = self._trees, self._options.effort
        try:
            with HelperPool(
                LayWork(trees, self._options),
                self._control,
                effort=effort,
                size=effort.count(),
                keep_fds=[trees.source, trees.staged, trees.live, trees.displaced],
            ) as pool:
                pool.run(self._next, self._settle)
                if self._options.drop_extra:
                    pool.run_all(self._extras(), self._settle)
                if self._options.seal:
                    pool.run_all(seals(self._ledger), lambda _: None)
                pool.run_all(iter([("sync",)]), lambda _: None)
        finally:
            self._pending.close()
        return self._done

    def _next(self) -> Message | None:
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("lay", batch) if batch else None

    def _extras(self) -> Iterator[Message]:
        batch: list[str] = []
        for path, _ in self._ledger.notes(SkipReason.EXTRA):
            batch.append(path)
            if len(batch) == BATCH_EXTRAS:
                yield ("drop", batch)
                batch = []
        yield ("drop", batch)

    def _settle(self, reply: Message) -> None:
        moved, dropped, below, failed = reply
        for path in below:
            self._pending.push(path)
        self._done.moved += moved
        self._done.dropped += dropped
        self._done.failed += len(failed)
        self._control.count(Counter.COPIED, moved)
        self._control.count(Counter.DELETED, dropped)
        self._control.count(Counter.FAILED, len(failed))
        for path, reason in failed:
            self._control.fault(path, reason)


class LayWork:
    """Called in a helper with one batch at a time."""

    def __init__(self, trees: OverlayTrees, options: OverlayOptions) -> None:
        self._staged = Anchor(trees.staged)
        self._live = Anchor(trees.live)
        self._displaced = trees.displaced
        self._selection = options.selection
        source = Anchor(trees.source)
        target = CopyTarget(self._live, trust=False, granularity_ns=1)
        copier = Copier(source, target, inherits=False, effort=options.effort)
        self._copying = CopyWork(source, self._live, copier, seal_root=options.seal_root)

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Do one batch: `lay` or `drop` paths; all others are those of a copy."""
        kind, *rest = message
        if kind not in ("lay", "drop"):
            return self._copying(message, channel)
        self._moved = self._dropped = 0
        self._below: list[str] = []
        self._failed: list[tuple[str, str]] = []
        act = self._lay if kind == "lay" else self._drop
        for path in rest[0]:
            self._guarded(path, partial(act, path))
        return self._moved, self._dropped, self._below, self._failed

    def _guarded(self, path: str, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            if is_fatal(error):
                raise fatal(error) from error
            self._failed.append((path, reason_of(error)))

    def _lay(self, path: str) -> None:
        """Move the entries of a directory that both sides have."""
        staged = self._staged.open(path)
        try:
            live = self._live.open(path)
            try:
                for name in sorted(os.listdir(staged)):
                    below = join(path, name)
                    self._guarded(below, partial(self._entry, below, staged, live))
            finally:
                os.close(live)
        finally:
            os.close(staged)

    def _entry(self, path: str, staged: int, live: int) -> None:
        name = split_name(path)[1]
        here = os.stat(name, dir_fd=staged, follow_symlinks=False)
        there = stat_entry(name, live)
        directories = (stat.S_ISDIR(here.st_mode), bool(there and stat.S_ISDIR(there.st_mode)))
        if all(directories):
            self._below.append(path)
            return
        if there is not None and any(directories):
            self._away(name, live)
        _rename((name, staged), (name, live))
        self._moved += 1

    def _away(self, name: str, live: int) -> None:
        _rename((name, live), (uuid4().hex, self._displaced))

    def _drop(self, path: str) -> None:
        """Take away an entry and what is below it, but not what the rules protect."""
        if not self._selection.chooses:
            with self._holding(path) as (fd, name):
                if stat_entry(name, fd) is not None:
                    self._away(name, fd)
                    self._dropped += 1
            return
        for below in reversed(self._free(path)):
            self._drop_one(below)

    @contextmanager
    def _holding(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the live directory that holds an entry."""
        directory, name = split_name(path)
        fd = self._live.open(directory)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _free(self, top: str) -> list[str]:
        """Name an entry and those below it that the rules let go, parents first."""
        found, pending = [], [top]
        while pending:
            path = pending.pop()
            with self._holding(path) as (fd, name):
                status = stat_entry(name, fd)
            if status is None or not self._selection.takes(path, status):
                continue
            found.append(path)
            if stat.S_ISDIR(status.st_mode):
                below = self._live.open(path)
                try:
                    pending += [join(path, name) for name in os.listdir(below)]
                finally:
                    os.close(below)
        return found

    def _drop_one(self, path: str) -> None:
        with self._holding(path) as (fd, name):
            status = stat_entry(name, fd)
            if status is None:
                return
            if not stat.S_ISDIR(status.st_mode):
                self._away(name, fd)
            elif not self._is_empty(path):  # it holds what the rules protect
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
    """rename(2); what forbids it (flags, a directory one may not write) is lifted meanwhile."""
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
    fd = os.open(name, _LOOK, dir_fd=directory)
    try:
        unlock(fd)
    finally:
        os.close(fd)


def _rename_locked(old: tuple[str, int], new: tuple[str, int]) -> None:
    status = os.stat(old[0], dir_fd=old[1], follow_symlinks=False)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        os.rename(old[0], new[0], src_dir_fd=old[1], dst_dir_fd=new[1])
        return
    fd = os.open(old[0], _LOOK, dir_fd=old[1])
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
