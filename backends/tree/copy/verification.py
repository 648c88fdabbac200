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

from backends.tree.compare import (
    DATA_ASPECTS,
    Aspect,
    Change,
    CompareOptions,
)
from backends.tree.copy.batches import first_names
from backends.tree.copy.ledger import NO_PART, Ledger
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.pieces import CopiedFile, Digests, Span
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.files import (
    Anchor,
    RemoteTree,
    changed_since,
    content,
    opened_file,
    split_name,
)
from backends.tree.processes import Effort, HelperChannel, HelperPool, Message, Sorter
from backends.tree.remote_compare import compare_sides
from core.jobs import Control, Counter

#: A batch is full at this number of files or bytes, whichever comes first.
BATCH_FILES = 64
BATCH_BYTES = 32 * 1024**2

#: A file that differs: path, why (`Loss`), words.
DifferingFile = tuple[str, str, str]


class Verification:
    """Adds to the receipt of a copy what differs."""

    def __init__(
        self,
        sides: tuple[Anchor | RemoteTree, Anchor],
        receipt: Receipt,
        control: Control,
        effort: Effort,
        ledger: Ledger,
        *,
        selects: bool = False,
    ) -> None:
        """Verify a copy; one that `selects` does not miss what was not selected."""
        self._ledger = ledger
        self._skip = frozenset(Aspect) - DATA_ASPECTS - {Aspect.TIME}
        if selects:
            self._skip |= {Aspect.MISSING}
        self._source, self._target = sides
        self._receipt = receipt
        self._control = control
        self._effort = effort
        self._checked = 0

    def compare_both(self, digest: str | None) -> None:
        """Compare the trees as they are now, by this digest or only by size.

        A difference from a source that has not changed counts as failed.
        """
        since = self._ledger.since_ns
        options = CompareOptions(
            digest=digest,
            skip=self._skip,
            from_disk=True,
            since_ns=since,
            effort=self._effort,
        )
        newer: set[str] = set()
        source = self._source.fd if isinstance(self._source, Anchor) else self._source
        found = compare_sides(
            source,
            self._target.fd,
            control=self._control,
            options=options,
            on_change=self._add_change,
        )
        differences = list(found)
        replaced = below_replaced(self._ledger, self._source, {one.path for one in differences})
        for difference in differences:
            path = difference.path
            if since is not None and path in replaced:
                self._add_change(Change(path, (difference.aspect,)))
                continue
            if difference.aspect == Aspect.TIME:
                newer.add(path)
            elif difference.aspect in DATA_ASPECTS and path not in self._known_losses():
                loss = Loss.CHANGED if path in newer else Loss.DIFFERENT
                self._add_loss(path, loss, str(difference.aspect))

    def _add_change(self, change: Change) -> None:
        """Name what changed since the copy began; the copy itself is as it should be."""
        if not DATA_ASPECTS.isdisjoint(change.aspects):
            loss = Loss.CHANGED_SINCE
            self._receipt.add_loss(loss, change.path)
            self._ledger.record_noted(NO_PART, [(loss.value, change.path, words_of(change))])

    def check_digests(self, digest: str, pool: HelperPool) -> None:
        """Compare the trees by size, and the content of the target with the recorded digests.

        When any file has no record, all files are read on both sides.
        """
        pool.run_all(check_batches(self._ledger.copied_files()), self._on_reply)
        pool.run_all(check_batches(first_names(self._ledger.links)), self._on_reply)
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

    def __init__(
        self, source: Anchor, target: Anchor, digest: str, since_ns: int | None = None
    ) -> None:
        self._since = since_ns
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
                if recorded is None and self._changed(path):
                    continue  # comparing the trees names it
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
        target_digest, target_ns = self._read_whole(self._target, path, channel)
        source_digest, source_ns = self._read_source(path, channel)
        if target_digest == source_digest:
            return None
        if self._changed(path):
            return None  # comparing the trees names it
        return Loss.DIFFERENT if source_ns == target_ns else Loss.CHANGED

    def _read_source(self, path: str, channel: HelperChannel) -> tuple[bytes, int]:
        """Return the digest of a file of the source, and its time."""
        return self._read_whole(self._source, path, channel)

    def _read_whole(self, anchor: Anchor, path: str, channel: HelperChannel) -> tuple[bytes, int]:
        with self._opened(anchor, path) as fd:
            status = os.fstat(fd)
            return self._digest_of(fd, (0, status.st_size), channel), status.st_mtime_ns

    def _changed(self, path: str) -> bool:
        return self._since is not None and changed_since(self._source, path, self._since)

    @contextmanager
    def _opened(self, anchor: Anchor, path: str) -> Iterator[int]:
        """Open a file; a file of the target is read from the storage where its pages are clean."""
        with opened_file(anchor, path) as fd:
            if anchor is self._target:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            yield fd

    def _digest_of(self, fd: int, span: Span, channel: HelperChannel) -> bytes:
        digest = content.DIGESTS[self._digest]()
        content.hash_span(fd, span, digest, lambda n: channel.count(Counter.VERIFIED, 0, n))
        return digest.digest()


class RemoteChecker(Checker):
    """Reads copied files whose source is on another node."""

    def __init__(
        self, remote: RemoteTree, target: Anchor, digest: str, since_ns: int | None
    ) -> None:
        super().__init__(target, target, digest, since_ns)
        self._remote = remote

    def _read_source(self, path: str, channel: HelperChannel) -> tuple[bytes, int]:  # noqa: ARG002 - as the parent's
        digest, mtime_ns = self._remote.value("digest", path, self._digest)
        return digest, mtime_ns

    def _changed(self, path: str) -> bool:
        return self._since is not None and self._remote.changed_since(path, self._since)


def below_replaced(ledger: Ledger, source: Anchor | RemoteTree, paths: set[str]) -> set[str]:
    """Return those paths that are not below the directory that was planned there.

    Another directory took its name, with older entries. Costs a pass over the plan, for differences
    only.
    """
    above = {one for path in paths for one in _directories_of(path)}
    planned = ledger.inodes(above) if above else {}
    replaced = {path for path, inode in planned.items() if inode_of(source, path) != inode}
    return {path for path in paths if not replaced.isdisjoint(_directories_of(path))}


def below_replaced_of(
    manifest: TreeManifest, source: int | RemoteTree, paths: set[str]
) -> set[str]:
    """Return what `below_replaced` finds, for the copy of a manifest."""
    links = Sorter()
    try:
        tree = Anchor(source) if isinstance(source, int) else source
        return below_replaced(Ledger(manifest, links), tree, paths)
    finally:
        links.close()


def _directories_of(path: str) -> Iterator[str]:
    """Yield a path and the directories above it, without the root."""
    while path:
        yield path
        path = split_name(path)[0]


def inode_of(source: Anchor | RemoteTree, path: str) -> int:
    """Return the inode number of a directory; 0 for one that is gone."""
    if isinstance(source, RemoteTree):
        return int(source.value("inode", path))
    try:
        fd = source.open(path)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def words_of(change: Change) -> str:
    """Return what a report says about a change of the source since the copy began."""
    if Aspect.EXTRA in change.aspects:
        return "It was removed or renamed after it was copied."
    aspects = ", ".join(change.aspects)
    return f"The source changed after this was copied: {aspects}."


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
