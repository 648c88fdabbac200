"""The source's half of a copy between two nodes: read entries, and send what the target needs.

The engine's own code runs here, on the node that serves the source. Its target sends frames instead
of writing. So the rules for what is copied, skipped, reported and tried again are those of a copy
on one node. `receiver` is the other half.

    ["directory", path]                       the entries that follow are in it; make it
    ["create", path, status]                  a file begins; what follows is its content
    ["size", bytes]                           its length: it has holes, or became shorter
    ["data", offset, bytes]                   some of its bytes
    ["attributes", path, status, xattrs, flags, held]  the file is complete
    ["take", path, status, xattrs, flags, held]  a complete file, from the tree near the target
    ["discard", path]                         the file cannot be completed
    ["begin", path, status]                   make a very big file for its pieces
    ["piece", path] … ["synced"]              the bytes between belong to a piece
    ["symlink", path, text, status, xattrs]   a symlink
    ["link", first, path]                     a further name of a file
    ["seal", path, status, xattrs, flags, made]  the attributes of a directory
    ["appeared", path]                        created after the plan, if the target lacks it
    ["count" | "fault" | "reply", …]          as a helper sends them to its parent
"""

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from backends.fs import held_bytes, is_same_time
from backends.tree.copy.copier import ContentCopier, Copier
from backends.tree.copy.pieces import Span
from backends.tree.copy.receipt import Receipt
from backends.tree.copy.target import AttributeWriter, CopyTarget, DirectoryPair, read_symlink
from backends.tree.copy.work import CopyWork
from backends.tree.fast import Plain
from backends.tree.files import (
    Anchor,
    AttributeSupport,
    ShortSource,
    content,
    join,
    pack_frame,
    read_flags,
    read_xattrs,
    split_name,
    status_to_wire,
)
from backends.tree.processes import DEFAULT_EFFORT, HelperChannel, Message
from backends.tree.selection import EntrySelector, Selection
from core.jobs import Counter

#: Frames are sent once they have so many bytes, or when a report is due.
TOGETHER_BYTES = 64 * 1024
#: Bytes of a file in one frame.
DATA_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """What a run of the copy tells the source's half with each batch."""

    #: The digest that is taken of each file; empty for none.
    digest: str
    since_ns: int | None
    seal_root: bool
    selection: list[Any] | None
    #: Whether equal length and time prove that a file of the target is complete.
    trust: bool
    granularity_ns: int
    #: The limit at the target's node; 0 for none.
    bytes_per_second: float = 0.0
    #: Length and time of files that the target has.
    present: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: The same of a tree near the target, from which equal files are taken.
    near: dict[str, tuple[int, int]] = field(default_factory=dict)

    def to_wire(self) -> list[Any]:
        """Return the terms as builtin values."""
        return [getattr(self, name) for name in self.__slots__]


class FrameChannel(HelperChannel):
    """A helper's channel whose messages go to the node of the target."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection, None)
        self._limit = 0.0
        self._unsent = bytearray()

    @property
    def bytes_per_second(self) -> float:
        """The limit on bytes that is in force at the target's node."""
        return self._limit

    def limit(self, bytes_per_second: float) -> None:
        """Set the limit of the target's node, which the pieces of big files follow."""
        self._limit = bytes_per_second

    def send(self, message: Message) -> None:
        """Send a frame, soon: small ones go together."""
        self._unsent += pack_frame(message)
        if len(self._unsent) >= TOGETHER_BYTES:
            self.push()

    def flush(self) -> None:
        """Send the counts collected so far, and every frame before them."""
        super().flush()
        self.push()

    def push(self) -> None:
        """Send every frame, and wait until the connection has accepted them."""
        self.connection.sendall(self._unsent)
        self._unsent.clear()


def sending_work(source: Anchor, terms: BatchTerms, channel: FrameChannel) -> CopyWork:
    """Return what does one batch of a copy at the source's node."""
    copier = _SendingCopier(source, terms, channel)
    selector = None
    if terms.selection is not None:
        selection = Selection.from_wire(terms.selection)
        selector = EntrySelector(source, None, selection, granularity_ns=terms.granularity_ns)
    return _SendingWork(
        source,
        _NOWHERE,
        copier,
        seal_root=terms.seal_root,
        selector=selector,
        since_ns=terms.since_ns,
    )


#: No tree: every attempt to open or to change something there fails.
_NOWHERE = Anchor(-1)


def _blank() -> int:
    """Return a descriptor beneath which nothing can be opened or made."""
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class _FrameTarget(CopyTarget):
    """The target of a copy on another node."""

    def __init__(self, terms: BatchTerms, channel: FrameChannel) -> None:
        super().__init__(_NOWHERE, trust=terms.trust, granularity_ns=terms.granularity_ns)
        self._terms = terms
        self._channel = channel

    def directory(self, path: str) -> int:
        self._channel.send(["directory", path])
        return _blank()

    def new_directory(self, path: str) -> int:
        return self.directory(path)

    def create(self, pair: DirectoryPair, name: str, status: os.stat_result) -> int | None:
        path = join(pair.path, name)
        if self._terms.trust and self.has(path, status):
            return None
        self._channel.send(["create", path, status_to_wire(status)])
        return _blank()

    def has(self, path: str, status: os.stat_result) -> bool:
        """Return whether the target has a file of this length and time."""
        return self._is_among(self._terms.present, path, status)

    def is_near(self, path: str, status: os.stat_result) -> bool:
        """Return whether the tree near the target has a file of this length and time."""
        return self._is_among(self._terms.near, path, status)

    def _is_among(
        self, files: dict[str, tuple[int, int]], path: str, status: os.stat_result
    ) -> bool:
        size, mtime_ns = files.get(path, (-1, 0))
        return size == status.st_size and is_same_time(
            status.st_mtime_ns, mtime_ns, self._terms.granularity_ns
        )

    def discard(self, pair: DirectoryPair, name: str) -> None:
        self._channel.send(["discard", join(pair.path, name)])

    def link(self, pair: DirectoryPair, name: str, path: str) -> None:
        self._channel.send(["link", join(pair.path, name), path])

    def symlink(self, pair: DirectoryPair, name: str, receipt: Receipt) -> None:
        link = read_symlink(pair.source, name)
        status = status_to_wire(link.status)
        self._channel.send(["symlink", join(pair.path, name), link.text, status, link.xattrs])
        receipt.links += 1


class _SendingContent(ContentCopier):
    """Sends the content of files."""

    def __init__(self, digest: str, channel: FrameChannel) -> None:
        super().__init__(digest)
        self._name = digest
        self._channel = channel
        self._length = 0

    def clones(self, fd: int, directory: int) -> bool:  # noqa: ARG002 - as the parent's
        return False

    def length_of(self, out: int) -> int:  # noqa: ARG002 - as the parent's
        return self._length

    def copy_file(
        self,
        fd: int,
        out: int,  # noqa: ARG002 - as the parent's
        status: os.stat_result,
        channel: HelperChannel,
        *,
        as_met: bool = False,
    ) -> bytes | None:
        self._length = status.st_size
        digest = content.DIGESTS[self._name]() if self._name else None
        try:
            whole = self._send_span(fd, (0, status.st_size), status, digest)
        except ShortSource:
            if not as_met:
                raise
            whole = False
        if as_met:
            self._length = min(status.st_size, os.fstat(fd).st_size)
            whole = whole and self._length == status.st_size
            self._channel.send(["size", self._length])
        self._count_unwritten(fd, status, channel)
        return digest.digest() if digest and whole else None

    def copy_piece(
        self,
        fd: int,
        out: int,  # noqa: ARG002 - as the parent's
        span: tuple[int, int],
        status: os.stat_result,
        channel: HelperChannel,  # noqa: ARG002 - as the parent's
    ) -> bytes | None:
        digest = content.DIGESTS[self._name]() if self._name else None
        whole = self._send_span(fd, span, status, digest)
        return digest.digest() if digest and whole else None

    def _send_span(
        self, fd: int, span: Span, status: os.stat_result, digest: content.Digest | None
    ) -> bool:
        """Send the data of a span; return whether every byte went into the digest."""
        sparse = content.is_sparse(status)
        self._sent = 0
        if sparse and span == (0, status.st_size):
            self._channel.send(["size", status.st_size])
        for begin, end in content.data_spans(fd, *span) if sparse else [span]:
            self._send_data(fd, begin, end, digest)
        return not sparse

    def _send_data(self, fd: int, begin: int, end: int, digest: content.Digest | None) -> None:
        while begin < end:
            data = os.pread(fd, min(DATA_BYTES, end - begin), begin)
            if not data:
                raise ShortSource
            if digest:
                digest.update(data)
            self._channel.send(["data", begin, data])
            self._channel.tick()
            begin += len(data)
            self._sent += len(data)

    def _count_unwritten(self, fd: int, status: os.stat_result, channel: HelperChannel) -> None:
        """Count blocks that were allocated and never written: the target counts what it gets."""
        if content.is_sparse(status):
            channel.count(Counter.COPIED, 0, max(0, held_bytes(status, fd) - self._sent))


class _SendingWriter(AttributeWriter):
    """Sends the attributes of directories."""

    def __init__(self, channel: FrameChannel) -> None:
        super().__init__(Receipt(), AttributeSupport())
        self._channel = channel
        #: Whether the target makes a directory that it lacks.
        self.makes = True

    def copy_all(self, path: str, source: int, target: int, status: os.stat_result) -> None:  # noqa: ARG002 - as the parent's
        kept = read_xattrs(source, self._support), read_flags(source, self._support)
        self._channel.send(["seal", path, status_to_wire(status), *kept, self.makes])


class _SendingCopier(Copier):
    """Copies entries into frames."""

    def __init__(self, source: Anchor, terms: BatchTerms, channel: FrameChannel) -> None:
        target = _FrameTarget(terms, channel)
        super().__init__(
            source,
            target,
            inherits=False,
            effort=DEFAULT_EFFORT,
            digest=terms.digest,
            since_ns=terms.since_ns,
        )
        self._frames = target
        self._terms = terms
        self.channel = channel
        self.content = _SendingContent(terms.digest, channel)
        self._reads = AttributeSupport()

    def _plain_rule(self) -> Plain | None:
        return None

    def write_attributes(
        self,
        path: str,
        fd: int,
        out: int,  # noqa: ARG002 - as the parent's
        status: os.stat_result,
        *,
        fresh: bool = True,  # noqa: ARG002 - as the parent's
    ) -> None:
        self._send_complete("attributes", path, fd, status)

    def _send_complete(self, kind: str, path: str, fd: int, status: os.stat_result) -> int:
        """Send that a file is complete, and return the bytes that it holds."""
        kept = read_xattrs(fd, self._reads), read_flags(fd, self._reads)
        held = held_bytes(status, fd)
        self.channel.send([kind, path, status_to_wire(status), *kept, held])
        return held

    def _copy_open_file(
        self,
        pair: DirectoryPair,
        name: str,
        opened: tuple[int, os.stat_result],
        channel: HelperChannel,
        *,
        as_met: bool,
    ) -> int:
        path, (fd, status) = join(pair.path, name), opened
        if as_met or not self._frames.is_near(path, status):
            return super()._copy_open_file(pair, name, opened, channel, as_met=as_met)
        self.record_digest(path, status.st_size, None)
        return self._send_complete("take", path, fd, status)

    def begin_pieces(self, pair: DirectoryPair, name: str, status: os.stat_result) -> bool:
        path = join(pair.path, name)
        if self._terms.trust and self._frames.has(path, status):
            return False
        if self._frames.is_near(path, status):
            return False
        self.channel.send(["begin", path, status_to_wire(status)])
        return True

    def has_pieces(self, pair: DirectoryPair, name: str, status: os.stat_result) -> bool:
        size, _ = self._terms.present.get(join(pair.path, name), (-1, 0))
        return size == status.st_size

    def piece(
        self,
        pair: DirectoryPair,
        name: str,
        opened: tuple[int, os.stat_result],
        span: Span,
        channel: HelperChannel,
    ) -> bytes | None:
        fd, status = opened
        self.channel.send(["piece", join(pair.path, name)])
        digest = self.content.copy_piece(fd, -1, span, status, channel)
        self.channel.send(["synced"])
        return digest

    def finish_pieces(
        self, pair: DirectoryPair, name: str, opened: tuple[int, os.stat_result]
    ) -> None:
        fd, status = opened
        self.write_attributes(join(pair.path, name), fd, -1, status)

    def discard(self, path: str) -> None:
        self.channel.send(["discard", path])

    def directory_writer(self) -> _SendingWriter:
        return _SendingWriter(self.channel)


class _SendingWork(CopyWork):
    """The batches of a copy whose target is on another node."""

    _copier: _SendingCopier

    def _seal_vanished(self, path: str, writer: AttributeWriter) -> None:  # noqa: ARG002 - as the parent's
        above = split_name(path)[0]
        source = self._source.open(above)
        try:
            sending = self._copier.directory_writer()
            sending.makes = False
            sending.copy_all(path, source, -1, os.fstat(source))
        finally:
            os.close(source)

    def _report_new(self, path: str, source: int, target: int) -> None:  # noqa: ARG002 - as the parent's
        for piece in self._copier.loops.scan(source, names=True):
            directories = set(piece[5])
            for name in piece[9] or ():
                below = join(path, name)
                if self._is_new(below) if name in directories else self._is_new_file(below):
                    self._copier.channel.send(["appeared", below])
