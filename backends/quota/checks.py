"""What is checked before bytes are let in, and before they are published."""

import hashlib
import os

from backends.base import Backend
from backends.quota import soft
from core.errors import InvalidParameters, NoSpace, QuotaExceeded, StorageError
from core.names import QuotaScope, VFolderId

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
    if soft.soft_of(backend) is None:  # our own limits are reserved from, which also asks
        check_quota(backend, vfolder.scope, size_bytes)
    check_capacity(backend, size_bytes)


def check_quota(backend: Backend, scope: QuotaScope | None, size_bytes: int) -> None:
    """Refuse what the quota scope cannot take; unknown figures pass.

    Raises:
        QuotaExceeded: with what is left.
    """
    if scope is None:
        return
    quota = backend.describe_scope(scope)
    if quota.limit_bytes is not None and quota.used_bytes is not None:
        left = max(quota.limit_bytes - quota.used_bytes, 0)
        if size_bytes > left:
            raise QuotaExceeded(f"The quota scope has {left} bytes left, {size_bytes} wanted.")


def check_capacity(backend: Backend, size_bytes: int) -> None:
    """Refuse what the volume cannot take; unknown figures pass.

    Raises:
        NoSpace: with what is left.
    """
    found = backend.capacity()
    if found.capacity_bytes is not None and found.used_bytes is not None:
        left = max(found.capacity_bytes - found.used_bytes, 0)
        if size_bytes > left:
            raise NoSpace(f"The volume has {left} bytes left, {size_bytes} wanted.")


def blame(backend: Backend, scope: QuotaScope | None, refusal: StorageError) -> StorageError:
    """Say whether the quota scope or the volume is full, when the kernel said that one of them is.

    XFS says ENOSPC of a full project, other file systems EDQUOT also of a user's own quota; so
    usage is compared with the limit. Anything but a lack of room comes back as it is.
    """
    if scope is None or not isinstance(refusal, NoSpace | QuotaExceeded):
        return refusal
    try:
        quota, volume = backend.describe_scope(scope), backend.capacity()
    except (OSError, StorageError):
        return refusal
    if quota.enforced != "hard" or quota.limit_bytes is None or quota.used_bytes is None:
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
