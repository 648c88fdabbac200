"""Entries of a vfolder: list, make, move, remove. Knows no job and no HTTP."""

from backends.entries import entries, listing, metadata
from backends.entries.scope_inventory import take_inventory

__all__ = [
    "entries",
    "listing",
    "metadata",
    "take_inventory",
]
