"""Verify a finished copy: read both trees again, or check the target against digests taken before.

Reading both trees finds whatever differs now. Digests taken while the copy read its source make the
second reading of the source unnecessary. They prove this: the target, read back from the storage
where the system allows it, has the content that was read from the source during the copy. They do
not prove what the storage of the source would return a second time. When the source is still in
memory, no method asks its storage again.

Some files have no digest: those that share extents, have holes, have several names or existed
before. They are read on both sides. A very big file has one digest for each of its pieces.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backends.tree.compare import DATA_ASPECTS, Aspect, CompareOptions, compare_trees
from backends.tree.copy.batches import first_names
from backends.tree.copy.ledger import Ledger
from backends.tree.copy.pieces import CopiedFile, Digests, Span
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.files import Anchor, content, split_name
from backends.tree.processes import Effort, HelperChannel, HelperPool, Message
from core.jobs import Control, Counter

#: A batch is full at this number of files or bytes, whichever comes first.
BATCH_FILES = 64
BATCH_BYTES = 32 * 1024**2

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: A file that differs: path, why (`Loss`), words.
DifferingFile = tuple[str, str, str]


class Verification:
    """Adds to the receipt of a copy what differs."""

    def __init__(
        self, source: Anchor, target: Anchor, receipt: Receipt, control: Control, effort: Effort
    ) -> None:
        self._source = source
        self._target = target
        self._receipt = receipt
        self._control = control
        self._effort = effort
        self._checked = 0

    def compare_both(self, digest: str | None) -> None:
        """Compare the trees as they are now, by this digest or only by size.

        A difference from a source that has not changed counts as failed.
        """
        options = CompareOptions(
            digest=digest,
            skip=frozenset(Aspect) - DATA_ASPECTS - {Aspect.TIME},
            from_disk=True,
            effort=self._effort,
        )
        newer: set[str] = set()
        differences = compare_trees(
            self._source.fd, self._target.fd, control=self._control, options=options
        )
        for difference in differences:
            path = difference.path
            if difference.aspect == Aspect.TIME:
                newer.add(path)
            elif difference.aspect in DATA_ASPECTS and path not in self._known_losses():
                loss = Loss.CHANGED if path in newer else Loss.DIFFERENT
                self._add_loss(path, loss, str(difference.aspect))

    def check_digests(self, digest: str, pool: HelperPool, ledger: Ledger) -> None:
        """Compare the trees by size, and the content of the target with the recorded digests.

        When any file has no record, all files are read on both sides.
        """
        pool.run_all(check_batches(ledger.copied_files()), self._on_reply)
        pool.run_all(check_batches(first_names(ledger.links)), self._on_reply)
        self.compare_both(digest if self._checked != self._receipt.files else None)

    def _on_reply(self, reply: Message) -> None:
        checked, differing = reply
        self._checked += checked
        for path, loss, words in differing:
            if path not in self._known_losses():
                self._add_loss(path, Loss(loss), words)

    def _add_loss(self, path: str, loss: Loss, words: str) -> None:
        self._receipt.add_loss(loss, path, words)
        self._control.fault(path, f"The copy differs: {words}.")
        self._control.count(Counter.FAILED, 1)

    def _known_losses(self) -> set[str]:
        """Return the entries that are known to be missing; only the examples are known."""
        return {path for examples in self._receipt.examples.values() for path, _ in examples}


class Checker:
    """Reads copied files in a helper; files without a digest on both sides."""

    def __init__(self, source: Anchor, target: Anchor, digest: str) -> None:
        self._source = source
        self._target = target
        self._digest = digest

    def check(self, batch: list[CopiedFile], channel: HelperChannel) -> list[DifferingFile]:
        """Return the files of a batch whose content is not what the copy read."""
        differing: list[DifferingFile] = []
        for path, _, recorded in batch:
            channel.entry(path)
            try:
                loss = self._check_file(path, recorded, channel)
            except (OSError, content.ShortSource) as error:
                reason = f"it cannot be read again: {error}"
                differing.append((path, Loss.DIFFERENT.value, reason))
                continue
            if loss is not None:
                differing.append((path, loss.value, "content"))
        return differing

    def _check_file(
        self, path: str, recorded: bytes | Digests | None, channel: HelperChannel
    ) -> Loss | None:
        if recorded is None:
            return self._compare_sides(path, channel)
        with self._opened(self._target, path) as fd:
            size = os.fstat(fd).st_size
            pieces = [(0, size, recorded)] if isinstance(recorded, bytes) else recorded
            equal = all(
                self._digest_of(fd, (begin, end), channel) == digest
                for begin, end, digest in pieces
            )
        return None if equal and size == pieces[-1][1] else Loss.DIFFERENT

    def _compare_sides(self, path: str, channel: HelperChannel) -> Loss | None:
        sides = []
        for anchor in (self._target, self._source):
            with self._opened(anchor, path) as fd:
                status = os.fstat(fd)
                digest = self._digest_of(fd, (0, status.st_size), channel)
                sides.append((digest, status.st_mtime_ns))
        (target_digest, target_ns), (source_digest, source_ns) = sides
        if target_digest == source_digest:
            return None
        return Loss.DIFFERENT if source_ns == target_ns else Loss.CHANGED

    @contextmanager
    def _opened(self, anchor: Anchor, path: str) -> Iterator[int]:
        """Open a file; a file of the target is read from the storage where its pages are clean."""
        parent, name = split_name(path)
        directory = anchor.open(parent)
        try:
            fd = os.open(name, _READ, dir_fd=directory)
        finally:
            os.close(directory)
        try:
            if anchor is self._target:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            yield fd
        finally:
            os.close(fd)

    def _digest_of(self, fd: int, span: Span, channel: HelperChannel) -> bytes:
        digest = content.DIGESTS[self._digest]()
        content.hash_span(fd, span, digest, lambda n: channel.count(Counter.VERIFIED, 0, n))
        return digest.digest()


def check_batches(files: Iterator[CopiedFile]) -> Iterator[Message]:
    """Yield batches that check all these files."""
    batch: list[CopiedFile] = []
    size_bytes = 0
    for file in files:
        batch.append(file)
        size_bytes += file[1]
        if len(batch) >= BATCH_FILES or size_bytes >= BATCH_BYTES:
            yield ("check", batch)
            batch, size_bytes = [], 0
    yield ("check", batch)
