"""Records and leases of uploads in Redis. Knows no file system and no HTTP."""

from core.uploads.store import UPLOAD_TTL_SECONDS, UploadStore
from core.uploads.upload import (
    LeaseRequest,
    OffsetMismatch,
    Upload,
    UploadExists,
    UploadLease,
    UploadLeaseHeld,
    UploadNotFound,
    UploadProgress,
)

__all__ = [
    "UPLOAD_TTL_SECONDS",
    "LeaseRequest",
    "OffsetMismatch",
    "Upload",
    "UploadExists",
    "UploadLease",
    "UploadLeaseHeld",
    "UploadNotFound",
    "UploadProgress",
    "UploadStore",
]
