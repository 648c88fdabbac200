"""Entries of a vfolder: list, make, move, remove. Knows no job and no HTTP."""

from backends.entries import entries, listing, metadata
from backends.entries.scope_inventory import take_inventory
from backends.entries.volume_inventory import VolumeInventory, read_volume

__all__ = [
    "VolumeInventory",
    "entries",
    "listing",
    "metadata",
    "read_volume",
    "take_inventory",
]
