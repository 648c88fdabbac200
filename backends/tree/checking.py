"""Check copied files against the digests taken while they were read: the target alone is read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backends.tree import content
from backends.tree.anchor import Anchor, split_name
from backends.tree.channel import HelperChannel, Message
from backends.tree.pieces import Digests, Span
from backends.tree.receipt import Loss
from core.jobs import Counter

#: A batch holds files until it has so many of them, or so many bytes.
BATCH_FILES = 64
BATCH_BYTES = 32 * 1024**2

#: A copied file: path, bytes, and the digest taken, or those of its pieces; None without one.
Taken = tuple[str, int, bytes | Digests | None]
#: A file that differs: path, why (`Loss`), words.
Differing = tuple[str, str, str]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def batches(taken: Iterator[Taken]) -> Iterator[Message]:
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


class Checker:
    """Reads files in a helper; those without a digest on both sides."""

    def __init__(self, source: Anchor, target: Anchor, digest: str) -> None:
        self._source = source
        self._target = target
        self._digest = digest

    def check(self, batch: list[Taken], voice: HelperChannel) -> list[Differing]:
        """Give the files of a batch that are not what was read."""
        found: list[Differing] = []
        for path, _, taken in batch:
            voice.entry(path)
            try:
                loss = self._one(path, taken, voice)
            except (OSError, content.ShortSource) as error:
                found.append((path, Loss.DIFFERENT.value, f"it cannot be read again: {error}"))
                continue
            if loss is not None:
                found.append((path, loss.value, "content"))
        return found

    def _one(self, path: str, taken: bytes | Digests | None, voice: HelperChannel) -> Loss | None:
        if taken is None:
            return self._on_both_sides(path, voice)
        with self._opened(self._target, path) as fd:
            size = os.fstat(fd).st_size
            pieces = [(0, size, taken)] if isinstance(taken, bytes) else taken
            held = all(
                self._digest_of(fd, (begin, end), voice) == digest for begin, end, digest in pieces
            )
        return None if held and size == pieces[-1][1] else Loss.DIFFERENT

    def _on_both_sides(self, path: str, voice: HelperChannel) -> Loss | None:
        sides = []
        for anchor in (self._target, self._source):
            with self._opened(anchor, path) as fd:
                status = os.fstat(fd)
                sides.append((self._digest_of(fd, (0, status.st_size), voice), status.st_mtime_ns))
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

    def _digest_of(self, fd: int, span: Span, voice: HelperChannel) -> bytes:
        digest = content.DIGESTS[self._digest]()
        content.hash_span(fd, span, digest, lambda n: voice.count(Counter.VERIFIED, 0, n))
        return digest.digest()
