"""Bytes of uploads on a volume: staging, reserved space, expiry. Knows no HTTP and no vendor."""

from backends.uploads import staging
from backends.uploads.ahead import BegunParts, HasUploadParts, PartsAhead
from backends.uploads.directories import (
    give_to_job,
    nearest_parent,
    parents,
    prepare_file,
)
from backends.uploads.expiry import end_uploads, sweep_uploads
from backends.uploads.staging import Staging, allocate_ahead

__all__ = [
    "BegunParts",
    "HasUploadParts",
    "PartsAhead",
    "Staging",
    "allocate_ahead",
    "end_uploads",
    "give_to_job",
    "nearest_parent",
    "parents",
    "prepare_file",
    "staging",
    "sweep_uploads",
]
