"""Uploads as records in the store. Knows no file system and no HTTP."""

from core.uploads.store import UPLOAD_TTL_SECONDS, UploadStore
from core.uploads.upload import (
    Lease,
    LeaseHeld,
    OffsetMismatch,
    Progress,
    Upload,
    UploadExists,
    UploadNotFound,
    Wish,
)

__all__ = [
    "UPLOAD_TTL_SECONDS",
    "Lease",
    "LeaseHeld",
    "OffsetMismatch",
    "Progress",
    "Upload",
    "UploadExists",
    "UploadNotFound",
    "UploadStore",
    "Wish",
]
