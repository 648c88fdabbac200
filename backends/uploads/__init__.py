"""Bytes of uploads on a volume: staging, reservation, expiry. Knows no HTTP and no vendor."""

from backends.uploads import preallocation, reservation, staging
from backends.uploads.expiry import sweep_uploads
from backends.uploads.places import give_to_job, parents
from backends.uploads.staging import Staging

__all__ = [
    "Staging",
    "give_to_job",
    "parents",
    "preallocation",
    "reservation",
    "staging",
    "sweep_uploads",
]
