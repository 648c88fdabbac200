"""Check copied files against the digests taken while they were read: the target alone is read."""

import os
from collections.abc import Iterator

from backends.tree import content
from backends.tree.anchor import Anchor, split_name
from backends.tree.channel import Message, Voice
from backends.tree.receipt import Loss
from core.control import Counter

#: A batch holds files until it has so many of them, or so many bytes.
BATCH_FILES = 64
BATCH_BYTES = 32 * 1024**2

#: A copied file: path, bytes, and the digest taken, None when there is none.
Taken = tuple[str, int, bytes | None]
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

    def check(self, batch: list[Taken], voice: Voice) -> list[Differing]:
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

    def _one(self, path: str, taken: bytes | None, voice: Voice) -> Loss | None:
        found, time_ns = self._read(self._target, path, voice)
        if taken is not None:
            return None if found == taken else Loss.DIFFERENT
        wanted, source_ns = self._read(self._source, path, voice)
        if found == wanted:
            return None
        return Loss.DIFFERENT if source_ns == time_ns else Loss.CHANGED

    def _read(self, anchor: Anchor, path: str, voice: Voice) -> tuple[bytes, int]:
        """Digest a file, from the storage where its pages in memory are clean; and its time."""
        above, name = split_name(path)
        directory = anchor.open(above)
        try:
            fd = os.open(name, _READ, dir_fd=directory)
        finally:
            os.close(directory)
        try:
            status = os.fstat(fd)
            if anchor is self._target:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            digest = content.DIGESTS[self._digest]()
            span = (0, status.st_size)
            content.hash_span(fd, span, digest, lambda n: voice.count(Counter.VERIFIED, 0, n))
            return digest.digest(), status.st_mtime_ns
        finally:
            os.close(fd)
