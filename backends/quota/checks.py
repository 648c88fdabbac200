"""Checks before bytes are accepted, and before they are published."""

import hashlib
import os
from collections.abc import Callable

from backends.base import Backend
from backends.quota import soft
from core.errors import InvalidParameters, NoSpace, QuotaExceeded, StorageError
from core.names import QuotaScope, VFolderId

#: A digest is computed in pieces of this size.
DIGEST_CHUNK_BYTES = 1 << 20
#: The digests that a sender may announce.
DIGESTS = ("sha1", "sha256", "sha512", "md5")
_REFUSES = (
    "The quota scope is past a limit of the storage system, which refuses to write; delete "
    "something or raise its limit."
)


class DigestMismatch(InvalidParameters):
    """The received bytes differ from those that the sender announced."""

    kind = "storage/upload-digest-mismatch"
    title = "Digest differs"


def check_space(backend: Backend, vfolder: VFolderId, size_bytes: int) -> None:
    """Refuse early what does not fit into the quota scope or the volume; unknown figures pass.

    Raises:
        QuotaExceeded, NoSpace: it does not fit; the detail says how many bytes are left.
    """
    if size_bytes <= 0:
        return
    if soft.soft_of(backend) is None:  # the reservation under a soft limit checks it
        check_quota(backend, vfolder.scope, size_bytes)
    check_capacity(backend, size_bytes)


def check_quota(backend: Backend, scope: QuotaScope | None, size_bytes: int) -> None:
    """Refuse what does not fit into the quota scope; unknown figures pass.

    Raises:
        QuotaExceeded: it does not fit; the detail says how many bytes are left.
    """
    if scope is None:
        return
    quota = backend.describe_scope(scope)
    if quota.exceeded == "hard":
        raise QuotaExceeded(_REFUSES)
    if quota.limit_bytes is not None and quota.used_bytes is not None:
        left = max(quota.limit_bytes - quota.used_bytes, 0)
        if size_bytes > left:
            raise QuotaExceeded(f"The quota scope has {left} bytes left, {size_bytes} wanted.")


def check_capacity(backend: Backend, size_bytes: int) -> None:
    """Refuse what does not fit on the volume; unknown figures pass.

    Raises:
        NoSpace: it does not fit; the detail says how many bytes are left.
    """
    volume = backend.capacity()
    if volume.capacity_bytes is not None and volume.used_bytes is not None:
        left = max(volume.capacity_bytes - volume.used_bytes, 0)
        if size_bytes > left:
            raise NoSpace(f"The volume has {left} bytes left, {size_bytes} wanted.")


def blame(backend: Backend, scope: QuotaScope | None, refusal: StorageError) -> StorageError:
    """Return which is full, the quota scope or the volume, after the kernel refused a write.

    XFS gives ENOSPC for a full project; other file systems give EDQUOT also for a user's own quota.
    So usage is compared with the limit. Any other error is returned unchanged.
    """
    if scope is None or not isinstance(refusal, NoSpace | QuotaExceeded):
        return refusal
    try:
        quota, volume = backend.describe_scope(scope), backend.capacity()
    except (OSError, StorageError):
        return refusal
    if quota.exceeded == "hard":
        return QuotaExceeded(_REFUSES)
    if (
        quota.enforced in (None, "soft", "off")
        or quota.limit_bytes is None
        or quota.used_bytes is None
    ):
        return refusal
    left = max(quota.limit_bytes - quota.used_bytes, 0)
    if volume.capacity_bytes is not None and volume.used_bytes is not None:
        free = volume.capacity_bytes - volume.used_bytes
        if isinstance(refusal, NoSpace) and free < left:
            return refusal
    return QuotaExceeded(
        f"The quota scope has {left} of {quota.limit_bytes} bytes left; delete something or raise "
        "its limit.",
    )


def check_digest(
    descriptor: int, digest: str, on_piece: Callable[[int], object] | None = None
) -> None:
    """Compare a file with `<algorithm> <hex>`; an empty digest passes. Reads the complete file.

    `on_piece` is called with the bytes of each piece.

    Raises:
        DigestMismatch: the file has another digest.
    """
    if not digest:
        return
    algorithm, _, announced = digest.partition(" ")
    total = hashlib.new(algorithm, usedforsecurity=False)
    position = 0
    while chunk := os.pread(descriptor, DIGEST_CHUNK_BYTES, position):
        total.update(chunk)
        position += len(chunk)
        if on_piece is not None:
            on_piece(len(chunk))
    if total.hexdigest() != announced.lower():
        raise DigestMismatch(f"The {algorithm} of what arrived is {total.hexdigest()}.")
