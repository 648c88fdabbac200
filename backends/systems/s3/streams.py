"""Streams of bytes, cut into the parts of a multipart upload."""

from collections.abc import Iterator

from backends.systems.s3.errors import ObjectRefused
from backends.systems.s3.multipart import (
    OBJECT_BYTES_MAX,
    Readable,
    growing_part_size,
    part_size,
    ranges,
)


def parts_of(source: Readable, size: int | None, part_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a stream; the first one even when it is empty.

    Raises:
        ObjectRefused: the stream is shorter than `size`, or too big.
    """
    if size is None:
        yield from _growing_parts(source, part_bytes)
        return
    for _, _, length in ranges(size, part_size(size, part_bytes)) or [(1, 0, 0)]:
        block = _filled(source, length)
        if len(block) < length:
            raise ObjectRefused(f"The stream has fewer than {size} bytes.")
        yield block


def _growing_parts(source: Readable, part_bytes: int) -> Iterator[bytes]:
    number, sent = 1, 0
    while True:
        wanted = growing_part_size(number, part_bytes)
        block = _filled(source, wanted)
        sent += len(block)
        if sent > OBJECT_BYTES_MAX:
            raise ObjectRefused("An object has at most 5 TiB.")
        if number == 1 or block:
            yield block
        if len(block) < wanted:
            return
        number += 1


def _filled(source: Readable, size: int) -> bytes:
    """Return `size` bytes; fewer only at the end of the stream."""
    blocks = []
    while size and (block := source.read(size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)
