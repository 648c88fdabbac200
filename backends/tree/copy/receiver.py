"""The target's half of a copy between two nodes: ask the source's node for a batch, and write it.

`sender` is the other half, and says which frames come. A batch whose stream breaks is asked for
again: what is complete is not sent a second time where equal length and time prove that.
"""

import errno
import os
import stat
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from backends.fs import atomic, held_bytes, reason_of
from backends.tree.copy.pieces import CopiedFile
from backends.tree.copy.receipt import Loss, Noted, Receipt
from backends.tree.copy.sender import BatchTerms
from backends.tree.copy.target import (
    AttributeWriter,
    CopyTarget,
    DirectoryPair,
    Symlink,
    ends_job,
    job_failure,
)
from backends.tree.copy.verification import Checker
from backends.tree.copy.work import APPEARED, VANISHED_LATE
from backends.tree.files import (
    DONE,
    Anchor,
    AttributeSupport,
    Frame,
    RemoteTree,
    checked,
    content,
    join,
    opened_file,
    split_name,
    stat_entry,
    status_from_wire,
    status_to_wire,
    sync_file_system,
)
from backends.tree.processes import HelperChannel, Message
from core.errors import NodeAway
from core.jobs import Counter

#: A helper asks again for this long while no node answers (seconds): a door that starts again.
PATIENCE_SECONDS = 60.0
#: The pause between two tries, and between two looks whether the helper must end (seconds).
PAUSE_SECONDS = 0.5
#: What a copy waits for meanwhile, in the words of its progress.
SOURCE_NODE = "the source's node"

_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class ReceivingWork:
    """Processes the batches of a copy whose source is on another node.

    Files that the tree `near` the target has with equal length and time are copied from there.
    """

    def __init__(
        self,
        remote: RemoteTree,
        target: Anchor,
        copy_target: CopyTarget,
        terms: BatchTerms,
        *,
        checker: Checker | None,
        near: Anchor | None,
    ) -> None:
        self._remote = remote
        self._target = target
        self._copy_target = copy_target
        self._terms = terms
        self._checker = checker
        self._near = near

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Process one batch and return its reply."""
        kind = message[0]
        if kind == "sync":
            sync_file_system(self._target.fd)
            return ("synced", -1)
        if kind == "check":
            return len(message[1]), self._checker.check(
                message[1], channel
            ) if self._checker else []
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            batch = _Batch((self._target, self._near), self._copy_target, channel)
            try:
                return self._receive(batch, list(message), channel)
            except NodeAway:
                batch.abandon()
                if batch.replied or time.monotonic() > until:
                    raise
                channel.wait(SOURCE_NODE)
                wait(channel)
            finally:
                batch.close()

    def _receive(self, batch: "_Batch", message: Message, channel: HelperChannel) -> Message:
        terms = replace(
            self._terms,
            bytes_per_second=channel.bytes_per_second,
            present=self._present(self._target, message),
            near=self._present(self._near, message) if self._near else {},
        )
        for frame in self._remote.ask("batch", terms.to_wire(), message):
            if frame[0] == DONE:
                return batch.finished(frame[1])
            batch.apply(frame)
        raise NodeAway("the stream ended early")

    @staticmethod
    def _present(tree: Anchor, message: Message) -> dict[str, tuple[int, int]]:
        """Return length and time of the files that a tree has of a batch."""
        kind, *rest = message
        found: dict[str, tuple[int, int]] = {}
        if kind == "copy":
            for path, names in rest[1]:
                _list(tree, path, names, found)
        elif kind in ("big", "met"):
            _list(tree, *_split(rest[1]), found)
        elif kind == "links":
            for path in (rest[0], *rest[1]):
                _list(tree, *_split(path), found)
        return found


def _list(
    tree: Anchor, path: str, names: list[str] | None, found: dict[str, tuple[int, int]]
) -> None:
    """Add length and time of the files of a directory, or of those of `names`."""
    try:
        directory = tree.open(path)
    except OSError:  # it is made later, or its copy reports why not
        return
    try:
        for name in os.listdir(directory) if names is None else names:
            there = stat_entry(name, directory)
            if there is not None and stat.S_ISREG(there.st_mode):
                found[join(path, name)] = (there.st_size, there.st_mtime_ns)
    finally:
        os.close(directory)


def _split(path: str) -> tuple[str, list[str]]:
    directory, name = split_name(path)
    return directory, [name]


def wait(channel: HelperChannel) -> None:
    """Pause before the next try; a helper that must end does so."""
    channel.tick()
    time.sleep(PAUSE_SECONDS)
    channel.tick()


class _Batch:
    """The frames of one batch, applied to the target.

    An entry that the target refuses is reported, and the rest of its frames is skipped.
    """

    def __init__(
        self, trees: tuple[Anchor, Anchor | None], target: CopyTarget, channel: HelperChannel
    ) -> None:
        self._anchor, self._near = trees
        self._target = target
        self._channel = channel
        self._receipt = Receipt()
        self._writer = AttributeWriter(self._receipt, AttributeSupport())
        self._noted: list[Noted] = []
        self._failed: set[str] = set()
        self._faults: list[tuple[str, str]] = []
        self._counted: dict[Counter, list[int]] = {}
        self._directory: tuple[str, int] | None = None
        self._path = ""
        self._out: int | None = None
        #: Whether a part of the reply went to the parent: the batch cannot be asked for again.
        self.replied = False

    def close(self) -> None:
        """Close what is open."""
        self._close_file()
        if self._directory is not None:
            os.close(self._directory[1])
            self._directory = None

    def abandon(self) -> None:
        """Take back what was counted: the batch is asked for again."""
        for counter, (items, size_bytes) in self._counted.items():
            self._channel.uncount(counter, items, size_bytes)

    def apply(self, frame: Frame) -> None:
        """Apply one frame.

        Raises:
            OSError, StorageError: no entry can be written any more.
        """
        kind, *rest = frame
        path = rest[0] if kind in _ENTRY_KINDS else self._path
        try:
            getattr(self, f"on_{kind}")(*rest)
        except OSError as error:
            if ends_job(error):
                raise job_failure(error) from error
            self._fail(path, reason_of(error))

    def finished(self, reply: Message) -> Message:
        """Return the reply of the batch with what happened at the target."""
        self._close_file()
        for path, reason in self._faults:
            self._channel.fault(path, reason)
        kind = reply[0]
        if kind == "copied":
            number, wire, links, big, digests, noted = reply[1:]
            merged, kept = self._merged(wire), self._kept(digests, noted)
            return ("copied", number, merged, list(links), list(big), *kept)
        if kind == "split":
            return self._split(reply)
        if kind == "piece":
            return self._piece_reply(reply)
        if kind == "stale":
            return reply
        if len(reply) == _SCAN_VALUES:
            return _scan_reply(reply)
        wire, noted = reply
        return self._merged(wire), [*noted, *self._noted]

    def _merged(self, wire: Message) -> Message:
        receipt = Receipt.from_wire(wire)
        receipt.add(self._receipt)
        return receipt.to_wire()

    def _kept(
        self, digests: list[CopiedFile], noted: list[Noted]
    ) -> tuple[list[CopiedFile], list[Noted]]:
        copied = [file for file in digests if file[0] not in self._failed]
        return copied, [*noted, *self._noted]

    def _split(self, reply: Message) -> Message:
        _, part, path, *state = reply
        if path not in self._failed:
            return ("split", part, path, *state)
        return ("copied", part, self._receipt.to_wire(), [], [], [], self._noted)

    def _piece_reply(self, reply: Message) -> Message:
        _, part, path, size, mtime, span, digest = reply
        if path in self._failed:
            span = digest = None
        return ("piece", part, path, size, mtime, span, digest)

    # -- Files -------------------------------------------------------------------------------------
    def on_create(self, path: str, wire: list[int]) -> None:
        self._open_file(path)
        pair, name = self._pair(path)
        self._out = self._target.create(pair, name, status_from_wire(wire))

    def on_begin(self, path: str, wire: list[int]) -> None:
        status = status_from_wire(wire)
        self.on_create(path, wire)
        if self._out is not None:
            os.ftruncate(self._out, status.st_size)
        self._close_file()

    def on_piece(self, path: str) -> None:
        self._open_file(path)
        pair, name = self._pair(path)
        self._out = os.open(name, _WRITE, dir_fd=pair.target)

    def on_synced(self) -> None:
        if self._out is not None:
            os.fdatasync(self._out)
        self._close_file()

    def on_size(self, size: int) -> None:
        if self._out is not None:
            os.ftruncate(self._out, size)

    def on_data(self, offset: int, data: bytes) -> None:
        if self._out is not None:
            atomic.pwrite_all(self._out, data, offset)
        self._count(Counter.COPIED, 0, len(data))

    def on_attributes(
        self, path: str, wire: list[int], xattrs: dict[str, bytes], flags: int, held: int
    ) -> None:
        try:
            if path in self._failed:
                return
            if self._path != path:
                self.on_piece(path)
            if self._out is not None:
                self._writer.write(path, self._out, status_from_wire(wire), xattrs, flags)
        except OSError:
            self._failed.add(path)
            raise
        finally:
            self._close_file()
            if path in self._failed:  # the source's half counts it
                self._receipt.files -= 1
                self._receipt.size_bytes -= held

    def on_take(self, path: str, wire: list[int], *kept: Any) -> None:  # noqa: ANN401 - as of `attributes`
        """Copy a file from the tree near the target.

        Raises:
            NodeAway: that one has changed; the batch is asked for again.
        """
        try:
            self._take(path, status_from_wire(wire))
        except OSError:
            self._failed.add(path)
            raise
        finally:
            self.on_attributes(path, wire, *kept)

    def _take(self, path: str, status: os.stat_result) -> None:
        with ExitStack() as opened:
            try:
                if self._near is None:
                    raise FileNotFoundError(errno.ENOENT, path)
                fd = opened.enter_context(opened_file(self._near, checked(path)))
            except OSError as error:
                raise NodeAway("A file near the target went away; try again.") from error
            self.on_create(path, status_to_wire(status))
            if self._out is None:
                self._count(Counter.COPIED, 0, status.st_size)
                return
            try:
                self._copy_near(fd, self._out, status)
            except content.ShortSource as error:
                raise NodeAway("A file near the target changed; try again.") from error

    def _copy_near(self, fd: int, out: int, status: os.stat_result) -> None:
        there, methods = os.fstat(fd), content.CopyMethods()
        if not self._target.is_equal(there, status):
            raise content.ShortSource
        if content.clone(fd, out, methods):
            self._count(Counter.COPIED, 0, held_bytes(there, fd))
            return
        os.ftruncate(out, status.st_size)
        for span in content.data_spans(fd, 0, status.st_size):
            content.copy_range(
                fd, out, span, methods, lambda moved: self._count(Counter.COPIED, 0, moved)
            )
        if os.fstat(fd).st_mtime_ns != there.st_mtime_ns:
            raise content.ShortSource

    def on_discard(self, path: str) -> None:
        self._close_file()
        with suppress(OSError):
            pair, name = self._pair(path)
            self._target.discard(pair, name)

    def _open_file(self, path: str) -> None:
        self._close_file()
        self._path = checked(path)
        self._failed.discard(path)

    def _close_file(self) -> None:
        if self._out is not None:
            os.close(self._out)
        self._path, self._out = "", None

    # -- Other entries -----------------------------------------------------------------------------
    def on_directory(self, path: str) -> None:
        self._enter(path)

    def _enter(self, path: str) -> int:
        """Return the open directory of the target; it is made where it is missing."""
        if self._directory is not None:
            known, fd = self._directory
            if known == path:
                return fd
            self._directory = None
            os.close(fd)
        fd = self._target.directory(checked(path))
        self._directory = (path, fd)
        return fd

    def _pair(self, path: str) -> tuple[DirectoryPair, str]:
        directory, name = split_name(checked(path))
        return DirectoryPair(directory, -1, self._enter(directory)), name

    def on_symlink(self, path: str, text: str, wire: list[int], xattrs: dict[str, bytes]) -> None:
        pair, name = self._pair(path)
        link = Symlink(text, status_from_wire(wire), xattrs)
        try:
            made = self._target.make_symlink(pair, name, link, self._receipt)
        except OSError:
            self._receipt.links -= 1
            raise
        if not made:
            self._receipt.links -= 1
            self._receipt.reused += 1

    def on_link(self, first: str, path: str) -> None:
        self._close_file()
        pair, name = self._pair(first)
        try:
            self._target.link(pair, name, checked(path))
        except OSError:
            self._receipt.hard_links -= 1
            raise

    def on_seal(
        self,
        path: str,
        wire: list[int],
        xattrs: dict[str, bytes],
        *rest: Any,  # noqa: ANN401 - flags, and whether it is made
    ) -> None:
        flags, made = rest
        try:
            target = (
                self._target.directory(checked(path)) if made else self._anchor.open(checked(path))
            )
        except FileNotFoundError:
            if made:
                raise
            return  # the copy of its entries has reported it
        try:
            self._writer.write(path, target, status_from_wire(wire), xattrs, flags)
        finally:
            os.close(target)
        if not made:
            self._receipt.directories += 1
            self._note(Loss.AS_MET, path, VANISHED_LATE)

    def on_appeared(self, path: str) -> None:
        pair, name = self._pair(path)
        if stat_entry(name, pair.target) is None:
            self._note(Loss.APPEARED, path, APPEARED)

    # -- Reports -----------------------------------------------------------------------------------
    def on_count(self, counts: list[tuple[str, int, int]], entry: str) -> None:
        for counter, items, size_bytes in counts:
            self._count(Counter(counter), items, size_bytes)
        self._channel.entry(entry)

    def _count(self, counter: Counter, items: int, size_bytes: int) -> None:
        sums = self._counted.setdefault(counter, [0, 0])
        sums[0] += items
        sums[1] += size_bytes
        self._channel.count(counter, items, size_bytes)

    def on_fault(self, path: str, reason: str) -> None:
        self._faults.append((path, reason))

    def on_reply(self, reply: Message) -> None:
        self.replied = True
        self._channel.reply(_scan_reply(reply))

    def _note(self, loss: Loss, path: str, words: str) -> None:
        self._receipt.add_loss(loss, path, words)
        self._noted.append((loss.value, path, words))

    def _fail(self, path: str, reason: str) -> None:
        self._close_file()
        self._failed.add(path)
        self._receipt.add_loss(Loss.FAILED, path, reason)
        self._faults.append((path, reason))
        self._count(Counter.FAILED, 1, 0)


#: The frames whose first value is the path of an entry.
_ENTRY_KINDS = frozenset(
    {
        "directory",
        "create",
        "begin",
        "piece",
        "attributes",
        "take",
        "symlink",
        "link",
        "seal",
        "appeared",
    }
)
_SCAN_VALUES = 5


def _scan_reply(reply: Message) -> Message:
    """Return a part of a plan as the planner takes it."""
    units, below, notes, inodes, replaced = reply
    return (
        [(path, None if names is None else list(names), *rest) for path, names, *rest in units],
        list(below),
        list(notes),
        list(inodes),
        replaced,
    )
