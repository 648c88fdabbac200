"""Walk, copy, delete, measure and compare trees of any size. Knows no volume and no backend.

Every engine works on descriptors of directories that the caller resolved and opened (O_PATH is
enough). It never follows a link, never leaves the root, uses a bounded amount of memory, and can be
stopped at any instruction and resumed. Helpers do the work (`processes`). The calling thread only
calls its control and adds up results, so it keeps responding when a storage hangs. The inner loops
are in C where that part was built (`fast`), otherwise in Python (`plain`).
"""

from backends.tree.compare import (
    DATA_ASPECTS,
    Aspect,
    Change,
    CompareOptions,
    Difference,
    compare_trees,
)
from backends.tree.copy import (
    CopyOptions,
    Loss,
    OverlayOptions,
    OverlayResult,
    OverlayTrees,
    Receipt,
    TreeManifest,
    apply_overlay,
    below_replaced_of,
    copy_tree,
    read_noted,
    read_notes,
    salvage,
    words_of,
)
from backends.tree.files import AttributeSupport, read_xattrs, sync_file_system
from backends.tree.processes import Effort, Throttle, threads_fit
from backends.tree.remove import Removal, RemoveOptions, remove_tree
from backends.tree.rules import Filter, parse_rule
from backends.tree.selection import Bounds, EntrySelector, OnConflict, Selection, SkipReason
from backends.tree.usage import Usage, UsageOptions, measure_tree
from backends.tree.walk import Entry, WalkOptions, walk

__all__ = [
    "DATA_ASPECTS",
    "Aspect",
    "AttributeSupport",
    "Bounds",
    "Change",
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
    "below_replaced_of",
    "compare_trees",
    "copy_tree",
    "measure_tree",
    "parse_rule",
    "read_noted",
    "read_notes",
    "read_xattrs",
    "remove_tree",
    "salvage",
    "sync_file_system",
    "threads_fit",
    "walk",
    "words_of",
]
