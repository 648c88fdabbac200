"""The room of an upload under a limit that we hold: promised before its bytes, settled after."""

from backends.base import Backend
from backends.quota import soft
from core.names import VFolderId
from core.uploads import Upload


def reserve(backend: Backend, upload: Upload) -> None:
    """Promise the upload its room in the scope, where we hold the limit; again for each request.

    One whose length is not told yet gets what its ticket allows.

    Raises:
        QuotaExceeded, Unavailable: as `soft_quota.reserve`.
    """
    size_bytes = upload.limit if upload.length is None else upload.length
    scope = VFolderId.parse(upload.vfolder).scope
    soft.reserve(backend, scope, upload.id, size_bytes or 0)


def settle(backend: Backend, upload: Upload, change_bytes: int = 0) -> None:
    """End the promise: the file is in the vfolder, which gained so much, or was given up."""
    scope = VFolderId.parse(upload.vfolder).scope
    soft.settle(backend, scope, upload.id, change_bytes, once=True)
