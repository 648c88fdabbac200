"""The tree engine: walk, copy, delete, measure and compare trees of any size.

Everything works on descriptors of directories that the caller resolved and opened (O_PATH will
do), never follows a link, never leaves the root, keeps its memory flat, and can be stopped and
taken up again at any instruction. The work is done by forked helpers (`pool`); the calling process
only asks `control` and adds up, so it stays answerable when a storage hangs. A C
part does the inner loops where one was built (`fast`).
"""

from backends.tree.compare import DATA_ASPECTS, Aspect, CompareOptions, Difference, compare_trees
from backends.tree.copy import (
    CopyOptions,
    Loss,
    OverlayOptions,
    OverlayResult,
    OverlayTrees,
    Receipt,
    TreeManifest,
    apply_overlay,
    copy_tree,
    read_notes,
    salvage,
)
from backends.tree.files import sync_file_system
from backends.tree.processes import Effort, Throttle, threads_fit
from backends.tree.remove import Removal, RemoveOptions, remove_tree
from backends.tree.rules import Filter, parse_rule
from backends.tree.selection import Bounds, EntrySelector, OnConflict, Selection, SkipReason
from backends.tree.usage import Usage, UsageOptions, measure_tree
from backends.tree.walk import Entry, WalkOptions, walk

__all__ = [
    "DATA_ASPECTS",
    "Aspect",
    "Bounds",
    "CompareOptions",
    "CopyOptions",
    "Difference",
    "Effort",
    "Entry",
    "EntrySelector",
    "Filter",
    "Loss",
    "OnConflict",
    "OverlayOptions",
    "OverlayResult",
    "OverlayTrees",
    "Receipt",
    "Removal",
    "RemoveOptions",
    "Selection",
    "SkipReason",
    "Throttle",
    "TreeManifest",
    "Usage",
    "UsageOptions",
    "WalkOptions",
    "apply_overlay",
    "compare_trees",
    "copy_tree",
    "measure_tree",
    "parse_rule",
    "read_notes",
    "remove_tree",
    "salvage",
    "sync_file_system",
    "threads_fit",
    "walk",
]
