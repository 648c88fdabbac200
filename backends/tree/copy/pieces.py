"""The pieces of a very big file: each is copied, brought to disk and recorded by itself.

What a killed run redoes of such a file are the pieces that were being copied, one for each helper.
Where a limit makes the copy slow the pieces are small, so that they never stand for much time.
"""

#: Length of a piece where no limit says otherwise.
PIECE_BYTES = 1024**3
#: Under a limit a piece is what it lets through in so many seconds ...
PIECE_SECONDS = 1.0
#: ... but no less than this: each piece costs a call of fdatasync(2) and a record.
PIECE_BYTES_MIN = 16 * 1024**2

#: The offsets at which a piece begins and ends.
Span = tuple[int, int]
#: The pieces of a file that are on disk, each with the digest taken of it, if one was.
Pieces = dict[Span, bytes | None]
#: The digests of all pieces of a file: from, to, digest.
Digests = list[tuple[int, int, bytes]]
#: A copied file: path, bytes, and the digest taken, or those of its pieces; None without one.
Taken = tuple[str, int, bytes | Digests | None]


def piece_length(bytes_per_second: float) -> int:
    """Tell how long pieces are under a limit (0: none), in bytes."""
    if not bytes_per_second:
        return PIECE_BYTES
    return max(PIECE_BYTES_MIN, min(PIECE_BYTES, int(bytes_per_second * PIECE_SECONDS)))


def digests(size_bytes: int, done: Pieces) -> Digests | None:
    """Give what there is to check a whole file by; None when something is missing, or overlaps."""
    found = [(*span, digest) for span, digest in sorted(done.items()) if digest is not None]
    begins = [begin for begin, _, _ in found] + [size_bytes]
    ends = [0] + [end for _, end, _ in found]
    return found if begins == ends else None


def covered(size_bytes: int, done: Pieces) -> list[Span]:
    """Give what pieces cover of a file, in order, without overlaps; they may be of any length."""
    found: list[Span] = []
    reached = 0
    for begin, end in sorted(done):
        first, last = max(begin, reached), min(end, size_bytes)
        if first < last:
            found.append((first, last))
            reached = last
    return found


def missing(size_bytes: int, done: Pieces, length: int) -> list[Span]:
    """Give the pieces of at most `length` that are still to be copied, in order."""
    found: list[Span] = []
    reached = 0
    for begin, end in [*covered(size_bytes, done), (size_bytes, size_bytes)]:
        found += [(at, min(begin, at + length)) for at in range(reached, begin, length)]
        reached = end
    return found
