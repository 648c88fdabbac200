"""Records and leases of uploads in Redis. Knows no file system and no HTTP."""

from core.uploads.places import OpenUpload, UploadPlaces
from core.uploads.store import LINK_SESSION, UPLOAD_TTL_SECONDS, UploadStore
from core.uploads.upload import (
    LeaseRequest,
    OffsetMismatch,
    TooManyUploads,
    Upload,
    UploadBounds,
    UploadExists,
    UploadLease,
    UploadLeaseHeld,
    UploadLeaseLost,
    UploadNotFound,
    UploadProgress,
)

__all__ = [
    "LINK_SESSION",
    "UPLOAD_TTL_SECONDS",
    "LeaseRequest",
    "OffsetMismatch",
    "OpenUpload",
    "TooManyUploads",
    "Upload",
    "UploadBounds",
    "UploadExists",
    "UploadLease",
    "UploadLeaseHeld",
    "UploadLeaseLost",
    "UploadNotFound",
    "UploadPlaces",
    "UploadProgress",
    "UploadStore",
]
