"""What a helper of a copy does with each kind of batch."""

import os
from functools import partial

from backends.fs import held_bytes
from backends.tree.copy.copier import Copier
from backends.tree.copy.pieces import CopiedFile, Digests, Span, piece_length
from backends.tree.copy.plan import UNREAD_NS, PlanScan, select_for_plan
from backends.tree.copy.receipt import Loss
from backends.tree.copy.target import AttributeWriter
from backends.tree.copy.verification import Checker
from backends.tree.files import (
    GONE,
    Anchor,
    Changed,
    ShortSource,
    changed_since,
    content,
    join,
    split_name,
    stat_entry,
    sync_file_system,
)
from backends.tree.processes import HelperChannel, Message
from backends.tree.selection import EntrySelector
from core.jobs import Counter

VANISHED_LATE = (
    "The directory was removed or renamed after it was copied; its attributes are those of the "
    "directory above."
)
APPEARED = "It was created after the copy began; the copy does not have it."


class CopyWork:
    """Processes one batch at a time in a helper: `(kind, …)` goes to the method of that kind."""

    def __init__(
        self,
        source: Anchor,
        target: Anchor,
        copier: Copier,
        *,
        seal_root: bool,
        selector: EntrySelector | None = None,
        checker: Checker | None = None,
        since_ns: int | None = None,
    ) -> None:
        self._since = since_ns
        self._source = source
        self._target = target
        self._copier = copier
        self._seal_root = seal_root
        self._selector = selector
        self._checker = checker

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Process one batch and return its reply."""
        kind, *rest = message
        self._copier.begin_batch()
        return getattr(self, f"_{kind}")(channel, *rest)

    def _scan(self, channel: HelperChannel, paths: list[str], stretch: int) -> Message:
        if self._selector is not None:
            return select_for_plan(self._selector, paths, channel)
        return PlanScan(self._source, self._copier.loops, channel).run(paths, stretch)

    def _sync(self, _: HelperChannel) -> Message:
        sync_file_system(self._target.fd)
        return ("synced", -1)

    def _copy(
        self, channel: HelperChannel, part: int, units: list[tuple[str, list[str] | None]]
    ) -> Message:
        for path, names in units:
            channel.entry(path)
            self._copier.directory(path, names, channel)
        return self._copied(part)

    def _copied(self, part: int) -> Message:
        copier = self._copier
        reported = (copier.links, copier.big, copier.digests, copier.noted)
        return ("copied", part, copier.receipt.to_wire(), *reported)

    def _check(self, channel: HelperChannel, batch: list[CopiedFile]) -> Message:
        return len(batch), self._checker.check(batch, channel) if self._checker else []

    def _big(
        self, channel: HelperChannel, part: int, path: str, known: list[tuple[int, int]]
    ) -> Message:
        """Copy a big file, or prepare it to be copied in pieces."""
        channel.entry(path)
        split = self._copier.guard(path, channel, lambda: self._try_big(path, known, channel))
        return ("split", part, path, *split) if split else self._copied(part)

    def _met(self, channel: HelperChannel, part: int, path: str) -> Message:
        """Copy a very big file that keeps changing, in one try that copies what it meets."""
        channel.entry(path)

        def copy() -> None:
            with self._copier.opened(path) as (pair, name, _):
                self._copier.regular(pair, name, channel, big=True, tries=1)

        self._copier.guard(path, channel, copy)
        return self._copied(part)

    def _try_big(
        self, path: str, known: list[tuple[int, int]], channel: HelperChannel
    ) -> tuple[int, int, int, bool] | None:
        """Return size, time, length of pieces, and whether the recorded pieces are in the target.

        A file whose recorded pieces are lost is not made yet: their records have to go first.
        Returns None when the file was copied at once.
        """
        length = piece_length(channel.bytes_per_second)
        with self._copier.opened(path) as (pair, name, fd):
            status = os.fstat(fd)
            state = (status.st_size, status.st_mtime_ns)
            if state in known:
                return *state, length, self._copier.has_pieces(pair, name, status)
            small = status.st_size < 2 * length or content.clones(fd, pair.target)
            if small or not self._copier.begin_pieces(pair, name, status):
                self._copier.regular(pair, name, channel, big=True)
                return None
            return *state, length, False

    def _piece(self, channel: HelperChannel, part: int, path: str, *rest: Message) -> Message:
        size, mtime, span = rest

        def copy() -> tuple[Span, bytes | None] | None:
            try:
                return self._try_piece(path, (size, mtime), span, channel)
            except OSError as error:
                if error.errno in GONE:
                    return None  # "finish" reports it, once for all pieces
                raise

        done = self._copier.guard(path, channel, copy)
        return ("piece", part, path, size, mtime, *(done or (None, None)))

    def _try_piece(
        self, path: str, state: tuple[int, int], span: Span, channel: HelperChannel
    ) -> tuple[Span, bytes | None] | None:
        """Return the copied span with its digest, or None when the file changed."""
        with self._copier.opened(path) as (pair, name, fd):
            status = os.fstat(fd)
            if (status.st_size, status.st_mtime_ns) != state:
                return None
            try:
                digest = self._copier.piece(pair, name, (fd, status), span, channel)
                content.check_unchanged(fd, status)
            except (Changed, ShortSource):
                return None
            return span, digest

    def _finish(self, channel: HelperChannel, part: int, path: str, *rest: Message) -> Message:
        """Finish a file whose pieces are all on disk: set its attributes, the time last."""
        state, digests = rest[:2], rest[2]
        finished = self._copier.guard(
            path, channel, lambda: self._try_finish(path, state, digests, channel)
        )
        if finished is None:
            self._copier.discard(path)
        return ("stale", part, path) if finished is False else self._copied(part)

    def _try_finish(
        self,
        path: str,
        state: tuple[Message, ...],
        digests: Digests | None,
        channel: HelperChannel,
    ) -> bool:
        with self._copier.opened(path) as (pair, name, fd):
            status = os.fstat(fd)
            if (status.st_size, status.st_mtime_ns) != state:
                return False
            self._copier.finish_pieces(pair, name, (fd, status))
            self._copier.receipt.files += 1
            self._copier.receipt.size_bytes += held_bytes(status, fd)
            self._copier.record_digest(path, status.st_size, digests)
            channel.count(Counter.COPIED, 1)
            return True

    def _links(self, channel: HelperChannel, first: str, others: list[str], *rest: int) -> Message:
        """Copy a file under its first name unless that was done, and link it to the others.

        When the first name is gone, the next one takes its place.
        """
        begins, total = rest
        names = [first, *others]
        while names and not self._link(channel, names, begins, total):
            names, begins = names[1:], 1
        return self._copier.receipt.to_wire(), self._copier.noted

    def _link(self, channel: HelperChannel, names: list[str], begins: int, total: int) -> bool:
        first, *others = names
        channel.entry(first)

        def copy_and_link() -> bool:
            with self._copier.opened(first) as (pair, name, fd):
                if begins:
                    self._copier.regular(pair, name, channel, big=True)
                if total and os.fstat(fd).st_nlink != total:
                    reason = "it has names outside the tree"
                    self._copier.receipt.add_loss(Loss.LINK, first, reason)
                for path in others:
                    self._copier.target.link(pair, name, path)
                    self._copier.receipt.hard_links += 1
                    channel.count(Counter.COPIED, 1)
            return True

        return self._copier.guard(first, channel, copy_and_link) or False

    def _seal(self, channel: HelperChannel, paths: list[tuple[str, int]]) -> Message:
        """Set the attributes of directories to those of the source."""
        writer = self._copier.directory_writer()
        for path, mtime_ns in paths:
            self._copier.guard(path, channel, partial(self._seal_one, path, mtime_ns, writer))
        return self._copier.receipt.to_wire(), self._copier.noted

    def _seal_one(self, path: str, mtime_ns: int, writer: AttributeWriter) -> None:
        try:
            source = self._source.open(path)
        except OSError as error:
            if mtime_ns == UNREAD_NS:
                return  # the copy of its entries has reported why
            if self._since is not None and error.errno in GONE:
                self._seal_vanished(path, writer)
                return
            raise
        try:
            status = os.fstat(source)
            target = self._copier.target.directory(path)
            try:
                if mtime_ns not in (UNREAD_NS, status.st_mtime_ns):
                    self._copier.receipt.add_loss(Loss.UNSETTLED, path)
                    self._report_new(path, source, target)
                if path:
                    self._copier.receipt.directories += 1
                if path or self._seal_root:
                    writer.copy_all(path, source, target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _seal_vanished(self, path: str, writer: AttributeWriter) -> None:
        """Give a directory that vanished after it was copied the attributes of the one above."""
        above = split_name(path)[0]
        try:
            target = self._target.open(path)
        except FileNotFoundError:
            return  # the copy of its entries has reported it
        try:
            source = self._source.open(above)
            try:
                writer.copy_all(path, source, target, os.fstat(source))
            finally:
                os.close(source)
        finally:
            os.close(target)
        self._copier.receipt.directories += 1
        self._copier.note_loss(Loss.AS_MET, path, VANISHED_LATE)

    def _report_new(self, path: str, source: int, target: int) -> None:
        """Report the entries that were created after the plan: the copy does not have them."""
        for piece in self._copier.loops.scan(source, names=True):
            directories = set(piece[5])
            for name in piece[9] or ():
                below = join(path, name)
                if stat_entry(name, target) is None and (
                    self._is_new(below) if name in directories else self._is_new_file(below)
                ):
                    self._copier.note_loss(Loss.APPEARED, below, APPEARED)

    def _is_new_file(self, path: str) -> bool:
        """Return whether a file or link is newer than the copy's beginning, where that is known."""
        if self._since is None or not changed_since(self._source, path, self._since):
            return False
        return self._selector is None or self._selector.accepts(path)

    def _is_new(self, path: str) -> bool:
        """Return whether the plan lacks a directory, not because of a rule or a failure."""
        if self._selector is not None and not self._selector.accepts(path):
            return False
        try:
            os.close(self._source.open(path))
        except OSError:
            return False  # the failure has been reported, or the directory has vanished again
        return True
