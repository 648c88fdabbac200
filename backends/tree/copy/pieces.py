"""The pieces of a very big file: each is copied, synced to disk and recorded by itself.

After a kill, only the pieces that were being copied are copied again, one for each helper. Where a
limit makes the copy slow, the pieces are small, so that little time is lost.
"""

#: Length of a piece without a limit.
PIECE_BYTES = 1024**3
#: Under a limit a piece is as long as the limit permits in this time ...
PIECE_SECONDS = 1.0
#: ... but no less than this: each piece costs a call of fdatasync(2) and a record.
PIECE_BYTES_MIN = 16 * 1024**2

#: The offsets at which a piece begins and ends.
Span = tuple[int, int]
#: The pieces of a file that are on disk, each with its digest, or None without one.
Pieces = dict[Span, bytes | None]
#: The digests of all pieces of a file: begin, end, digest.
Digests = list[tuple[int, int, bytes]]
#: A copied file: path, bytes, and its digest or those of its pieces; None without one.
CopiedFile = tuple[str, int, bytes | Digests | None]


def piece_length(bytes_per_second: float) -> int:
    """Return the length of pieces in bytes under a limit (0: no limit)."""
    if not bytes_per_second:
        return PIECE_BYTES
    return max(PIECE_BYTES_MIN, min(PIECE_BYTES, int(bytes_per_second * PIECE_SECONDS)))


def digests(size_bytes: int, done: Pieces) -> Digests | None:
    """Return the digests that cover a file exactly; None when pieces are missing or overlap."""
    known = [(*span, digest) for span, digest in sorted(done.items()) if digest is not None]
    begins = [begin for begin, _, _ in known] + [size_bytes]
    ends = [0] + [end for _, end, _ in known]
    return known if begins == ends else None


def covered(size_bytes: int, done: Pieces) -> list[Span]:
    """Return what pieces cover of a file, in order, without overlaps. Any length is accepted."""
    spans: list[Span] = []
    reached = 0
    for begin, end in sorted(done):
        first, last = max(begin, reached), min(end, size_bytes)
        if first < last:
            spans.append((first, last))
            reached = last
    return spans


def missing(size_bytes: int, done: Pieces, length: int) -> list[Span]:
    """Return the pieces of at most `length` bytes that are still to be copied, in order."""
    spans: list[Span] = []
    reached = 0
    for begin, end in [*covered(size_bytes, done), (size_bytes, size_bytes)]:
        spans += [(at, min(begin, at + length)) for at in range(reached, begin, length)]
        reached = end
    return spans
