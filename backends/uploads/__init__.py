"""Bytes of uploads on a volume: staging, reserved space, expiry. Knows no HTTP and no vendor."""

from backends.uploads import staging
from backends.uploads.directories import (
    default_acl,
    give_to_job,
    inherit_directory,
    nearest_parent,
    own_new_directory,
    parents,
)
from backends.uploads.expiry import end_uploads, sweep_uploads
from backends.uploads.staging import Staging, allocate_ahead

__all__ = [
    "Staging",
    "allocate_ahead",
    "default_acl",
    "end_uploads",
    "give_to_job",
    "inherit_directory",
    "nearest_parent",
    "own_new_directory",
    "parents",
    "staging",
    "sweep_uploads",
]
