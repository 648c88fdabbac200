"""Entries of a vfolder: list, make, move, remove. Knows no job and no HTTP."""

from backends.entries import entries, listing, metadata, removal
from backends.entries.scope_inventory import survey

__all__ = [
    "entries",
    "listing",
    "metadata",
    "removal",
    "survey",
]
