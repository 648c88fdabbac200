"""Fill one file of a copy: by the ladder of `content`, holes kept, a digest if one is wanted."""

import os

from backends.tree import content
from backends.tree.channel import HelperChannel
from core.jobs import Counter


class Filler:
    """Brings content over, and learns meanwhile which ways the two file systems have.

    `digest` names one of `content.DIGESTS`, "" none.
    """

    def __init__(self, digest: str = "") -> None:
        self._digest = digest
        self._ways = content.CopyMethods()
        self._cloning: bool | None = None

    def clones(self, fd: int, directory: int) -> bool:
        """Tell whether the content of big files is a matter of one call here; tried once."""
        if self._cloning is None:
            self._cloning = content.clones(fd, directory)
        return self._cloning and self._ways.clone

    def fill(self, fd: int, out: int, status: os.stat_result, voice: HelperChannel) -> bytes | None:
        """Bring the content of a whole file over; the digest of what was read.

        None when none is asked for, or when not all bytes passed through this process: of files
        that share their extents, and of files with holes.

        Raises:
            ShortSource: the file became shorter, or a small one longer.
        """
        size = status.st_size
        digest = content.DIGESTS[self._digest]() if self._digest else None
        if size <= content.SMALL_BYTES and not content.is_sparse(status):
            content.copy_small(fd, out, size, digest)
            voice.count(Counter.COPIED, 0, size)
        elif content.clone(fd, out, self._ways):
            digest = None
            voice.count(Counter.COPIED, 0, size)
        elif content.is_sparse(status):
            digest = None
            os.ftruncate(out, size)
            self.span(fd, out, (0, size), voice)
        elif digest:
            self._hashing(fd, out, (0, size), digest, voice)
        else:
            self._data(fd, out, (0, size), voice)
        return digest.digest() if digest else None

    def piece(
        self, fd: int, out: int, span: tuple[int, int], status: os.stat_result, voice: HelperChannel
    ) -> bytes | None:
        """Bring a piece of a file over; the digest of what was read, as `fill` gives it.

        Raises:
            ShortSource: the file became shorter.
        """
        if not self._digest or content.is_sparse(status):
            self.span(fd, out, span, voice)
            return None
        digest = content.DIGESTS[self._digest]()
        self._hashing(fd, out, span, digest, voice)
        return digest.digest()

    def _hashing(
        self, fd: int, out: int, span: tuple[int, int], digest: content.Digest, voice: HelperChannel
    ) -> None:
        content.copy_hashing(fd, out, span, digest, lambda n: voice.count(Counter.COPIED, 0, n))

    def span(self, fd: int, out: int, span: tuple[int, int], voice: HelperChannel) -> None:
        """Bring over the data between two offsets and leave holes as they are."""
        done = 0
        for data in content.data_spans(fd, *span):
            self._data(fd, out, data, voice)
            done += data[1] - data[0]
        voice.count(Counter.COPIED, 0, span[1] - span[0] - done)

    def _data(self, fd: int, out: int, span: tuple[int, int], voice: HelperChannel) -> None:
        content.copy_range(
            fd, out, span, self._ways, lambda moved: voice.count(Counter.COPIED, 0, moved)
        )
