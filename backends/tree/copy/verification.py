"""Verify a finished copy: by reading both trees again, or the target against digests taken before.

Reading both finds whatever differs now. Digests taken while the copy read its source spare the
second reading of it, and say: the target, read back from the storage where the system allows,
holds what was read when it was copied. What the source's storage would give a second time is not
asked; a source that is still in memory would not be asked either way. Files of which no digest
could be taken (those that share extents, have holes, several names or were there already) are
read on both sides. A very big file has one digest for each of its pieces.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backends.tree.compare import DATA_ASPECTS, Aspect, CompareOptions, compare_trees
from backends.tree.copy.batches import first_names
from backends.tree.copy.ledger import Ledger
from backends.tree.copy.pieces import Digests, Span, Taken
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.files import Anchor, content, split_name
from backends.tree.processes import Effort, HelperChannel, HelperPool, Message
from core.jobs import Control, Counter

#: A batch holds files until it has so many of them, or so many bytes.
BATCH_FILES = 64
BATCH_BYTES = 32 * 1024**2
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: A file that differs: path, why (`Loss`), words.
Differing = tuple[str, str, str]


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

    def both(self, digest: str | None) -> None:
        """Compare the trees as they are now, by this digest or only by size.

        What differs from a source that is as it was, has failed.
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
            elif difference.aspect in DATA_ASPECTS and path not in self._lost():
                loss = Loss.CHANGED if path in newer else Loss.DIFFERENT
                self._lose(path, loss, str(difference.aspect))

    def taken(self, digest: str, pool: HelperPool, ledger: Ledger) -> None:
        """Compare the trees by size, and the content of the target with the digests taken.

        Should any file be without a record, all are read on both sides.
        """
        files = ledger.digests()
        pool.run_all(check_batches(files), self._settle)
        pool.run_all(check_batches(first_names(ledger.links)), self._settle)
        self.both(digest if self._checked != self._receipt.files else None)

    def _settle(self, reply: Message) -> None:
        checked, differing = reply
        self._checked += checked
        for path, loss, words in differing:
            if path not in self._lost():
                self._lose(path, Loss(loss), words)

    def _lose(self, path: str, loss: Loss, words: str) -> None:
        self._receipt.lose(loss, path, words)
        self._control.fault(path, f"The copy differs: {words}.")
        self._control.count(Counter.FAILED, 1)

    def _lost(self) -> set[str]:
        """Give the entries that are known to be missing, as far as they are named."""
        return {path for named in self._receipt.examples.values() for path, _ in named}


class Checker:
    """Reads files in a helper; those without a digest on both sides."""

    def __init__(self, source: Anchor, target: Anchor, digest: str) -> None:
        self._source = source
        self._target = target
        self._digest = digest

    def check(self, batch: list[Taken], channel: HelperChannel) -> list[Differing]:
        """Give the files of a batch that are not what was read."""
        found: list[Differing] = []
        for path, _, taken in batch:
            channel.entry(path)
            try:
                loss = self._one(path, taken, channel)
            except (OSError, content.ShortSource) as error:
                found.append((path, Loss.DIFFERENT.value, f"it cannot be read again: {error}"))
                continue
            if loss is not None:
                found.append((path, loss.value, "content"))
        return found

    def _one(self, path: str, taken: bytes | Digests | None, channel: HelperChannel) -> Loss | None:
        if taken is None:
            return self._on_both_sides(path, channel)
        with self._opened(self._target, path) as fd:
            size = os.fstat(fd).st_size
            pieces = [(0, size, taken)] if isinstance(taken, bytes) else taken
            held = all(
                self._digest_of(fd, (begin, end), channel) == digest
                for begin, end, digest in pieces
            )
        return None if held and size == pieces[-1][1] else Loss.DIFFERENT

    def _on_both_sides(self, path: str, channel: HelperChannel) -> Loss | None:
        sides = []
        for anchor in (self._target, self._source):
            with self._opened(anchor, path) as fd:
                status = os.fstat(fd)
                sides.append(
                    (self._digest_of(fd, (0, status.st_size), channel), status.st_mtime_ns)
                )
        (found, time_ns), (wanted, source_ns) = sides
        if found == wanted:
            return None
        return Loss.DIFFERENT if source_ns == time_ns else Loss.CHANGED

    @contextmanager
    def _opened(self, anchor: Anchor, path: str) -> Iterator[int]:
        """Open a file; a target to be read from the storage where its pages are clean."""
        above, name = split_name(path)
        directory = anchor.open(above)
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


def check_batches(taken: Iterator[Taken]) -> Iterator[Message]:
    """Give messages to check all files."""
    batch: list[Taken] = []
    size_bytes = 0
    for one in taken:
        batch.append(one)
        size_bytes += one[1]
        if len(batch) >= BATCH_FILES or size_bytes >= BATCH_BYTES:
            yield ("check", batch)
            batch, size_bytes = [], 0
    yield ("check", batch)
