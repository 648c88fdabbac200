"""Checksums of a body while it is written: on another core than the one that writes."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from crc32c import CRC32CHash

#: Below this, handing a piece over costs more than its checksum.
HAND_OVER_BYTES = 128 * 1024


class UploadDigest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The checksum of all."""


def _sha1() -> Any:  # noqa: ANN401 - hashlib's own class has no public name
    return hashlib.sha1(usedforsecurity=False)


#: The algorithms of the checksum extension.
CHECKSUMS: dict[str, Callable[[], UploadDigest]] = {
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "crc32c": CRC32CHash,
}

_pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="hash")


class Hashing:
    """The checksum of one body, one piece at a time beside the caller."""

    def __init__(self, algorithm: str) -> None:
        self._digest = CHECKSUMS[algorithm]()
        self._under_way: Future[None] | None = None

    def take(self, data: memoryview) -> None:
        """Begin with a piece, which must stay as it is until `take` or `wait` is called again."""
        self.wait()
        if len(data) < HAND_OVER_BYTES:
            self._digest.update(data)
        else:
            self._under_way = _pool.submit(self._digest.update, data)

    def wait(self) -> None:
        """Return when no piece is at work any more."""
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def digest(self) -> bytes:
        """The checksum of all pieces."""
        self.wait()
        return self._digest.digest()
