"""Copy the content of one directory into another, by helpers, resumable, every attribute kept.

Phases: *plan* walks the source and writes parts into the manifest; *copy* does the parts, then
gives files their other names; *seal* gives directories their attributes, children first, and
brings everything to disk. Nothing is synced per file: a part is marked done only after the
target's file system was synced (syncfs(2)), so what the manifest calls done, and a returned
receipt, is on disk. What a killed run had copied but not synced is recognised by length and time,
on the same boot of the same machine.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from backends.tree.copy.batches import PartFeed, link_groups, seals
from backends.tree.copy.copier import Copier
from backends.tree.copy.ledger import SLOT_FINISH, SLOT_PLAN, Ledger
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.plan import CopyPlanner, Part
from backends.tree.copy.receipt import EXAMPLES_MAX, Loss, Receipt
from backends.tree.copy.target import CopyTarget, probe_granularity
from backends.tree.copy.verification import Checker, Verification
from backends.tree.copy.work import CopyWork
from backends.tree.files import ACL_DEFAULT, Anchor, xattr_names
from backends.tree.processes import DEFAULT_EFFORT, Effort, HelperPool, Message, Sorter
from backends.tree.selection import EntrySelector, Noted, Selection, SkipReason
from core.errors import EntryExists
from core.jobs import Control, Counter

#: How long to wait before asking again whether another node is done, in seconds.
PAUSE_SECONDS = 0.1


#: Least time between two syncs of the target while parts are being done, in seconds.
CHECKPOINT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy. `durable=False` leaves bringing everything to disk to the caller.

    Parts are synced and marked done at least `checkpoint_seconds` apart.
    `verify` names a digest (`content.DIGESTS`): at the end both trees are read again, the target
    from disk where the system allows, and what differs counts as failed. When `digest` names the
    same, it is taken of each file while that is read, and only the target is read again at the end
    (`verification` tells what that proves).

    Without `root_attributes` the target directory itself keeps its own. Without a `selection`
    everything is taken. With `parts_only` it helps another node with the parts of its plan that are
    free, if there is one, and leaves the rest to it. `on_wait` is called again and again while
    there is only another node to wait for; what it raises ends the copy.
    """

    durable: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    verify: str | None = None
    digest: str | None = None
    root_attributes: bool = True
    cross_mounts: bool = False
    selection: Selection | None = None
    parts_only: bool = False
    on_wait: Callable[[], None] | None = None
    effort: Effort = DEFAULT_EFFORT


DEFAULT_COPY = CopyOptions()


def copy_tree(
    source_fd: int,
    target_fd: int,
    *,
    control: Control,
    manifest: TreeManifest | None = None,
    options: CopyOptions = DEFAULT_COPY,
) -> Receipt:
    """Copy everything below one directory into another; give what could not be kept.

    The target is empty or what a former run of the same job left; with the same manifest the run
    goes on where that one stopped. Several nodes that call this with the same manifest share the
    work: each takes parts, one finishes, all return the same receipt. The target directory is
    private to the job until this returns: attributes of directories come last. Fifos, sockets and
    devices are skipped and counted.

    Raises:
        Interrupted: the control says stop; what is done stays.
        NoSpace, QuotaExceeded, BackendFailed: the target takes nothing any more.
    """
    record = manifest or TreeManifest.temporary()
    links = Sorter()
    try:
        ledger = Ledger(record, links)
        job = _Copy(source_fd, target_fd, control, options, ledger)
        return job.run(links, record.fd)
    finally:
        links.close()
        if manifest is None:
            record.close()


class _Copy:
    """The parent's side."""

    def __init__(
        self,
        source_fd: int,
        target_fd: int,
        control: Control,
        options: CopyOptions,
        ledger: Ledger,
    ) -> None:
        self._source = Anchor.duplicate(source_fd, cross_mounts=options.cross_mounts)
        self._target = Anchor.duplicate(target_fd, cross_mounts=options.cross_mounts)
        self._control = control
        self._options = options
        self._ledger = ledger
        self._receipt = Receipt()
        against = options.selection.against if options.selection else None
        self._against = None if against is None else Anchor.duplicate(against)

    def run(self, links: Sorter, manifest_fd: int) -> Receipt:
        self._ledger.begin()
        effort = self._options.effort
        with HelperPool(
            self._work(),
            self._control,
            effort=effort,
            size=effort.count(),
            own_fds=[anchor.fd for anchor in self._anchors()],
            keep_fds=[manifest_fd],
        ) as pool:
            if self._options.parts_only:
                return self._help(pool)
            with self._alone(SLOT_PLAN):
                self._plan(pool)
            self._copy_parts(pool)
            with self._alone(SLOT_FINISH):
                return self._ledger.finished or self._finish(pool, links)

    def _help(self, pool: HelperPool) -> Receipt:
        if self._ledger.planned is not None:
            self._control.phase("copy")
            self._copy_parts(pool)
        return self._ledger.receipt

    def _anchors(self) -> list[Anchor]:
        anchors = (self._source, self._target, self._against)
        return [anchor for anchor in anchors if anchor is not None]

    @contextmanager
    def _alone(self, slot: int) -> Iterator[None]:
        """Wait until no other node does this."""
        while not self._ledger.claim(slot):
            self._pause()
        try:
            yield
        finally:
            self._ledger.release(slot)

    def _pause(self) -> None:
        self._control.check()
        if self._options.on_wait is not None:
            self._options.on_wait()
        time.sleep(PAUSE_SECONDS)

    def _copy_parts(self, pool: HelperPool) -> None:
        """Do the parts that are free, a helper once, others until all are done, wherever."""
        while not self._ledger.all_done:
            feed = PartFeed(
                self._ledger,
                self._control,
                durable=self._options.durable,
                checkpoint_seconds=self._options.checkpoint_seconds,
            )
            pool.run(feed.take, feed.settle)
            if feed.unsynced:
                self._sync(pool)
                feed.finish()
            self._ledger.refresh()
            feed.tell_others()
            if self._options.parts_only:  # what others have in hand is not waited for
                return
            if not self._ledger.all_done:
                self._pause()

    def _sync(self, pool: HelperPool) -> None:
        if self._options.durable:
            pool.run_all(iter([("sync",)]), lambda _: None)

    def _finish(self, pool: HelperPool, links: Sorter) -> Receipt:
        """Do what needs all parts: further names, attributes of directories, verification."""
        pool.run_all(link_groups(links), self._add)
        self._control.phase("seal")
        pool.run_all(seals(self._ledger), self._add)
        self._sync(pool)
        parts = self._ledger.receipt
        parts.directories = 0  # they were counted where they were listed, now where they were made
        self._receipt.add(parts)
        for path, words in self._ledger.notes(SkipReason.UNREAD):
            self._receipt.lose(Loss.UNREADABLE, path, words)
        for path, words in self._ledger.notes(SkipReason.CONFLICT):
            self._receipt.lose(Loss.CONFLICT, path, words)
        if self._options.verify:
            self._verify(self._options.verify, pool)
        self._ledger.ended(self._receipt)
        return self._receipt

    def _verify(self, digest: str, pool: HelperPool) -> None:
        self._control.phase("verify")
        self._control.expect(*(self._ledger.planned or (None, None)))
        sides = (self._source, self._target)
        effort = self._options.effort
        verification = Verification(*sides, self._receipt, self._control, effort)
        if self._options.digest == digest:
            verification.taken(digest, pool, self._ledger)
        else:
            verification.both(digest)

    def _work(self) -> CopyWork:
        granularity_ns = probe_granularity(self._target)
        target = CopyTarget(self._target, trust=self._ledger.trusted, granularity_ns=granularity_ns)
        digest = self._options.digest or ""
        copier = Copier(
            self._source,
            target,
            inherits=self._inherits(),
            effort=self._options.effort,
            digest=digest,
        )
        return CopyWork(
            self._source,
            self._target,
            copier,
            seal_root=self._options.root_attributes,
            chooser=self._chooser(granularity_ns),
            checker=Checker(self._source, self._target, digest) if digest else None,
        )

    def _chooser(self, granularity_ns: int) -> EntrySelector | None:
        selection = self._options.selection
        if selection is None:
            return None
        return EntrySelector(self._source, self._against, selection, granularity_ns=granularity_ns)

    def _inherits(self) -> bool:
        """Tell whether new entries inherit an ACL; a root that will get its own loses it now."""
        fd = self._target.open("")
        try:
            names = xattr_names(fd)
            if ACL_DEFAULT in names and self._options.root_attributes:
                os.removexattr(fd, ACL_DEFAULT)
                return False
            return ACL_DEFAULT in names
        finally:
            os.close(fd)

    def _plan(self, pool: HelperPool) -> None:
        self._control.phase("plan")
        if self._ledger.planned is None:
            self._ledger.plan()
            planner = CopyPlanner(pool, self._options.effort.count(), self._plan_part, self._note)
            planner.run()
            self._check_conflicts()
            self._ledger.plan_ended(planner.entries, planner.size_bytes)
        self._control.phase("copy")
        self._control.expect(*(self._ledger.planned or (None, None)))
        self._control.count(Counter.COPIED, *self._ledger.by_others())

    def _plan_part(self, part: Part) -> None:
        self._control.count(Counter.LISTED, part.entries, part.size_bytes)
        self._ledger.part(part)

    def _check_conflicts(self) -> None:
        """Refuse before anything is copied.

        Raises:
            EntryExists: entries of the target stand in the way; some are named.
        """
        selection = self._options.selection
        count = self._ledger.conflicts()
        if selection is not None and selection.stops and count:
            named = [
                path for path, _ in islice(self._ledger.notes(SkipReason.CONFLICT), EXAMPLES_MAX)
            ]
            raise EntryExists(
                f"The target has {count} entries that stand in the way.",
                data={"conflicts": count, "examples": named},
            )

    def _note(self, notes: list[Noted]) -> None:
        """Record notes; what is not done for them is a fault, unless all of it is refused."""
        self._ledger.note(notes)
        selection = self._options.selection
        for note, path, words in notes:
            if note == SkipReason.UNREAD or (
                note == SkipReason.CONFLICT and selection is not None and not selection.stops
            ):
                self._control.fault(path, words)
                self._control.count(Counter.FAILED, 1)

    def _add(self, reply: Message) -> None:
        self._receipt.add(Receipt.from_wire(reply))
