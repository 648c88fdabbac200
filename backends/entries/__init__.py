"""Entries of a vfolder: list, make, move, remove. Knows no job and no HTTP."""

from backends.entries import access_files, entries, listing, metadata, object_tree, search
from backends.entries.access_files import RecordChanged, RecordFile, RecordPage
from backends.entries.listing import DescribedEntry, EntryPage
from backends.entries.object_count import count_objects
from backends.entries.object_tree import (
    ContinuedUpload,
    HasObjects,
    ObjectEntry,
    ObjectFacts,
    ObjectTree,
    OpenObject,
    Piece,
)
from backends.entries.scope_inventory import take_inventory
from backends.entries.volume_inventory import VolumeInventory, read_volume

__all__ = [
    "ContinuedUpload",
    "DescribedEntry",
    "EntryPage",
    "HasObjects",
    "ObjectEntry",
    "ObjectFacts",
    "ObjectTree",
    "OpenObject",
    "Piece",
    "RecordChanged",
    "RecordFile",
    "RecordPage",
    "VolumeInventory",
    "access_files",
    "count_objects",
    "entries",
    "listing",
    "metadata",
    "object_tree",
    "read_volume",
    "search",
    "take_inventory",
]
