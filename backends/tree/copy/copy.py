"""Copy the content of one directory to another with helpers: resumable, with all attributes.

Phases: *plan* walks the source and writes parts into the manifest. *copy* copies the parts, then
links files to their other names. *seal* sets the attributes of directories, children first, and
syncs everything to disk.

Nothing is synced per file. A part is marked done only after the file system of the target was
synced (syncfs(2)). So what the manifest calls done, and what a returned receipt counts, is on disk.
What a killed run had copied but not synced is recognised by length and time, on the same boot of
the same machine.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from backends.tree.copy.batches import PartScheduler, link_groups, seals
from backends.tree.copy.copier import Copier
from backends.tree.copy.ledger import NO_PART, SLOT_FINISH, SLOT_PLAN, Ledger
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.plan import CopyPlanner, Part
from backends.tree.copy.receipt import EXAMPLES_MAX, Loss, Receipt
from backends.tree.copy.receiver import ReceivingWork
from backends.tree.copy.sender import BatchTerms
from backends.tree.copy.target import CopyTarget, probe_granularity
from backends.tree.copy.verification import Checker, RemoteChecker, Verification
from backends.tree.copy.work import CopyWork
from backends.tree.files import ACL_DEFAULT, Anchor, RemoteTree, split_name, xattr_names
from backends.tree.processes import DEFAULT_EFFORT, Effort, HelperPool, Message, Sorter, Work
from backends.tree.selection import EntrySelector, Note, Selection, SkipReason
from core.errors import EntryExists
from core.jobs import Control, Counter

#: Pause between two looks whether another node is done, in seconds.
PAUSE_SECONDS = 0.1
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: Least time between two syncs of the target while parts are being copied, in seconds.
CHECKPOINT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy. With `durable=False` the caller syncs the target to disk.

    Parts are synced and marked done at least `checkpoint_seconds` apart.

    `verify` names a digest (`content.DIGESTS`). At the end both trees are read again, the target
    from disk where the system allows it. What differs counts as failed. When `digest` names the
    same digest, it is taken of each file while the copy reads the file, and only the target is read
    again at the end (`verification` explains what that proves).

    Without `root_attributes` the target directory itself keeps its attributes. Without a
    `selection` all entries are copied. With `parts_only` the call copies free parts of another
    node's plan, if there is one, and leaves the rest to that node. `on_wait` is called again and
    again while the call only waits for another node; an exception from it ends the copy.
    `on_planned` gets the entries of the complete plan, the bytes that they hold, and the bytes of
    the files that they replace; an exception from it ends the copy, too.

    `near` is a descriptor of another tree of the target's volume. While another node reads the
    source, a file that this tree has with equal length and time is copied from there.

    `clone_file` makes a big file of the target, by its path, with the content that the source has
    there; it returns False for a file that has to be copied. It is called for one file at a time,
    and an exception from it ends the copy.

    `since_ns` is a moment of the source file system's clock, right before the copy begins. What
    changes, comes or goes there from that moment on is no failure: the copy has what it meets, and
    the manifest names each such entry (`read_noted`). None is strict: a source that does not stay
    as it was planned makes the copy incomplete.
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
    on_planned: Callable[[int, int, int], None] | None = None
    since_ns: int | None = None
    near: int | None = None
    clone_file: Callable[[str], bool] | None = None
    effort: Effort = DEFAULT_EFFORT


DEFAULT_COPY = CopyOptions()


def copy_tree(
    source: int | RemoteTree,
    target_fd: int,
    *,
    control: Control,
    manifest: TreeManifest | None = None,
    options: CopyOptions = DEFAULT_COPY,
) -> Receipt:
    """Copy everything below one directory to another and return what could not be kept.

    The source is an open directory, or a tree of another node.

    The target is empty, or an earlier run of the same job left it. With the same manifest the run
    continues where the earlier one stopped. Several nodes that call this with the same manifest
    share the work: each copies parts, one finishes, and all return the same receipt. The target
    directory is private to the job until this returns: attributes of directories are set last.
    Fifos, sockets and devices are skipped and counted.

    Raises:
        Interrupted: the control says stop; what is done stays.
        EntryExists: the selection stops at conflicts, and the target has some.
        NoSpace, QuotaExceeded, BackendFailed: the target accepts no more entries.
    """
    record = manifest or TreeManifest.temporary()
    links = Sorter()
    try:
        ledger = Ledger(record, links)
        job = _Copy(source, target_fd, control, options, ledger)
        return job.run(links, record.fd)
    finally:
        links.close()
        if manifest is None:
            record.close()


class _Copy:
    """The parent's side."""

    def __init__(
        self,
        source: int | RemoteTree,
        target_fd: int,
        control: Control,
        options: CopyOptions,
        ledger: Ledger,
    ) -> None:
        self._source = (
            Anchor.duplicate(source, cross_mounts=options.cross_mounts)
            if isinstance(source, int)
            else source
        )
        self._target = Anchor.duplicate(target_fd, cross_mounts=options.cross_mounts)
        self._control = control
        self._options = options
        self._ledger = ledger
        self._receipt = Receipt()
        against = options.selection.against if options.selection else None
        self._against = None if against is None else Anchor.duplicate(against)
        self._near = None if options.near is None else Anchor.duplicate(options.near)

    def run(self, links: Sorter, manifest_fd: int) -> Receipt:
        self._ledger.record_begin(self._options.since_ns)
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
                return self._help_other_node(pool)
            with self._exclusive(SLOT_PLAN):
                self._plan(pool)
            self._copy_parts(pool)
            with self._exclusive(SLOT_FINISH):
                return self._ledger.finished or self._finish(pool, links)

    def _help_other_node(self, pool: HelperPool) -> Receipt:
        if self._ledger.planned is not None:
            self._control.phase("copy")
            self._copy_parts(pool)
        return self._ledger.receipt

    def _anchors(self) -> list[Anchor]:
        anchors = (self._source, self._target, self._against, self._near)
        return [anchor for anchor in anchors if isinstance(anchor, Anchor)]

    @contextmanager
    def _exclusive(self, slot: int) -> Iterator[None]:
        """Wait until no other node does this, then lock it."""
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
        """Copy free parts until all are done on any node; with `parts_only` only once."""
        while not self._ledger.all_done:
            scheduler = PartScheduler(
                self._ledger,
                self._control,
                durable=self._options.durable,
                checkpoint_seconds=self._options.checkpoint_seconds,
                clone=self._clone_big,
            )
            pool.run(scheduler.next_batch, scheduler.on_reply)
            if scheduler.unsynced:
                self._sync(pool)
                scheduler.record_finished()
            self._ledger.refresh()
            scheduler.count_others()
            if self._options.parts_only:  # it does not wait for parts that other nodes copy
                return
            if not self._ledger.all_done:
                self._pause()

    def _clone_big(self, path: str) -> tuple[int, int] | None:
        """Clone a big file by the caller's means; what is wrong with it a copy finds out.

        An earlier copy of the file goes first. What a process of this node wrote to the source is
        written to the storage first.
        """
        clone = self._options.clone_file
        if clone is None or isinstance(self._source, RemoteTree):
            return None
        self._control.check()
        directory, name = split_name(path)
        with ExitStack() as opened, suppress(OSError):
            source = self._source.open(directory)
            opened.callback(os.close, source)
            target = self._target.open(directory)
            opened.callback(os.close, target)
            fd = os.open(name, _READ, dir_fd=source)
            opened.callback(os.close, fd)
            with suppress(OSError):  # a snapshot has nothing to write
                os.fsync(fd)
            status = os.fstat(fd)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=target)
            if not stat.S_ISREG(status.st_mode) or not clone(path):
                return None
            if os.stat(name, dir_fd=target, follow_symlinks=False).st_size == status.st_size:
                return status.st_size, status.st_mtime_ns
        return None

    def _sync(self, pool: HelperPool) -> None:
        if self._options.durable:
            pool.run_all(iter([("sync",)]), lambda _: None)

    def _finish(self, pool: HelperPool, links: Sorter) -> Receipt:
        """Do what needs all parts: further names, attributes of directories, verification."""
        self._ledger.record_finish()
        pool.run_all(link_groups(links), self._add_receipt)
        self._control.phase("seal")
        pool.run_all(seals(self._ledger), self._add_receipt)
        self._sync(pool)
        parts = self._ledger.receipt
        parts.directories = 0  # counted when listed; sealing has counted those that were made
        self._receipt.add(parts)
        for _, path, words in self._ledger.notes(SkipReason.UNREAD):
            self._receipt.add_loss(Loss.UNREADABLE, path, words)
        for _, path, words in self._ledger.notes(SkipReason.CONFLICT):
            self._receipt.add_loss(Loss.CONFLICT, path, words)
        if self._options.verify:
            self._verify(self._options.verify, pool)
        self._ledger.record_end(self._receipt)
        return self._receipt

    def _verify(self, digest: str, pool: HelperPool) -> None:
        self._control.phase("verify")
        self._control.expect(*(self._ledger.planned or (None, None)))
        sides = (self._source, self._target)
        effort = self._options.effort
        selects = self._options.selection is not None
        verification = Verification(
            sides, self._receipt, self._control, effort, self._ledger, selects=selects
        )
        if self._options.digest == digest:
            verification.check_digests(digest, pool)
        else:
            verification.compare_both(digest)

    def _work(self) -> Work:
        granularity_ns = probe_granularity(self._target)
        target = CopyTarget(self._target, trust=self._ledger.trusted, granularity_ns=granularity_ns)
        digest = self._options.digest or ""
        if isinstance(self._source, RemoteTree):
            return self._receiving_work(self._source, target, granularity_ns)
        copier = Copier(
            self._source,
            target,
            inherits=self._inherits(),
            effort=self._options.effort,
            digest=digest,
            since_ns=self._ledger.since_ns,
        )
        return CopyWork(
            self._source,
            self._target,
            copier,
            seal_root=self._options.root_attributes,
            selector=self._selector(self._source, granularity_ns),
            checker=self._checker(digest),
            since_ns=self._ledger.since_ns,
        )

    def _receiving_work(
        self, remote: RemoteTree, target: CopyTarget, granularity_ns: int
    ) -> ReceivingWork:
        """Return the work where another node reads the source.

        Raises:
            ValueError: the selection compares with the target, which only one node can do.
        """
        self._inherits()
        digest, selection = self._options.digest or "", self._options.selection
        if self._against is not None:
            raise ValueError("no selection against a target while another node reads the source")
        terms = BatchTerms(
            digest=digest,
            since_ns=self._ledger.since_ns,
            seal_root=self._options.root_attributes,
            selection=selection.to_wire() if selection else None,
            trust=self._ledger.trusted,
            granularity_ns=granularity_ns,
        )
        return ReceivingWork(
            remote,
            self._target,
            target,
            terms,
            checker=self._checker(digest),
            near=self._near,
        )

    def _checker(self, digest: str) -> Checker | None:
        if not digest:
            return None
        since_ns = self._ledger.since_ns
        if isinstance(self._source, RemoteTree):
            return RemoteChecker(self._source, self._target, digest, since_ns)
        return Checker(self._source, self._target, digest, since_ns)

    def _selector(self, source: Anchor, granularity_ns: int) -> EntrySelector | None:
        selection = self._options.selection
        if selection is None:
            return None
        return EntrySelector(source, self._against, selection, granularity_ns=granularity_ns)

    def _inherits(self) -> bool:
        """Return whether new entries inherit an ACL; clear it on a root that gets its own later."""
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
            self._ledger.record_plan()
            planner = CopyPlanner(
                pool, self._options.effort.count(), self._add_part, self._add_notes
            )
            planner.run()
            self._check_conflicts()
            sums = planner.entries, planner.size_bytes, planner.replaced_bytes
            self._ledger.record_planned(*sums)
        planned = self._ledger.planned
        if planned is not None and self._options.on_planned is not None:
            self._options.on_planned(*planned, self._ledger.replaced_bytes)
        self._control.phase("copy")
        self._control.expect(*(planned or (None, None)))
        self._control.count(Counter.COPIED, *self._ledger.take_counts_of_others())

    def _add_part(self, part: Part) -> None:
        self._control.count(Counter.LISTED, part.entries, part.size_bytes)
        self._ledger.record_part(part)

    def _check_conflicts(self) -> None:
        """Refuse conflicts before anything is copied.

        Raises:
            EntryExists: entries of the target conflict with selected ones; some are named.
        """
        selection = self._options.selection
        count = self._ledger.conflicts()
        if selection is not None and selection.stops and count:
            examples = [
                path for _, path, _ in islice(self._ledger.notes(SkipReason.CONFLICT), EXAMPLES_MAX)
            ]
            raise EntryExists(
                f"The target has {count} entries that conflict with entries to copy.",
                data={"conflicts": count, "examples": examples},
            )

    def _add_notes(self, notes: list[Note]) -> None:
        """Record notes; entries not copied are faults, unless conflicts refuse the whole copy."""
        self._ledger.record_notes(notes)
        selection = self._options.selection
        for note, path, words in notes:
            if note == SkipReason.UNREAD or (
                note == SkipReason.CONFLICT and selection is not None and not selection.stops
            ):
                self._control.fault(path, words)
                self._control.count(Counter.FAILED, 1)

    def _add_receipt(self, reply: Message) -> None:
        wire, noted = reply
        self._receipt.add(Receipt.from_wire(wire))
        self._ledger.record_noted(NO_PART, noted)
