"""What is checked before bytes are let in, and before they are published."""

import hashlib
import os

from backends.base import Backend
from core.errors import InvalidParameters, NoSpace, QuotaExceeded
from core.names import VFolderId

#: Digests of a whole are computed in pieces of this size.
DIGEST_CHUNK_BYTES = 1 << 20
#: What a sender may ask the whole to be checked with.
DIGESTS = ("sha1", "sha256", "sha512", "md5")


class DigestMismatch(InvalidParameters):
    """The bytes received are not those the sender announced."""

    kind = "storage/upload-digest-mismatch"
    title = "Digest differs"


def check_room(backend: Backend, vfolder: VFolderId, size_bytes: int) -> None:
    """Refuse early what the quota scope or the volume cannot take; unknown figures pass.

    Raises:
        QuotaExceeded, NoSpace: with what is left.
    """
    if size_bytes <= 0:
        return
    if vfolder.scope is not None:
        quota = backend.describe_scope(vfolder.scope)
        if quota.limit_bytes is not None and quota.used_bytes is not None:
            left = max(quota.limit_bytes - quota.used_bytes, 0)
            if size_bytes > left:
                raise QuotaExceeded(f"The quota scope has {left} bytes left, {size_bytes} wanted.")
    found = backend.capacity()
    if found.capacity_bytes is not None and found.used_bytes is not None:
        left = max(found.capacity_bytes - found.used_bytes, 0)
        if size_bytes > left:
            raise NoSpace(f"The volume has {left} bytes left, {size_bytes} wanted.")


def check_digest(descriptor: int, digest: str) -> None:
    """Compare a file with `<algorithm> <hex>`; an empty digest passes. Reads the whole file.

    Raises:
        DigestMismatch: it differs.
    """
    if not digest:
        return
    algorithm, _, wanted = digest.partition(" ")
    total = hashlib.new(algorithm, usedforsecurity=False)
    position = 0
    while chunk := os.pread(descriptor, DIGEST_CHUNK_BYTES, position):
        total.update(chunk)
        position += len(chunk)
    if total.hexdigest() != wanted.lower():
        raise DigestMismatch(f"The {algorithm} of what arrived is {total.hexdigest()}.")
