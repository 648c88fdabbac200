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
    SOURCE_NODE,
    CopyOptions,
    Loss,
    OverlayOptions,
    OverlayResult,
    OverlayTrees,
    Receipt,
    TreeManifest,
    answer,
    apply_overlay,
    below_replaced_of,
    copy_tree,
    probe_granularity,
    read_noted,
    read_notes,
    salvage,
    words_of,
)
from backends.tree.files import (
    DONE,
    Anchor,
    AttributeSupport,
    Frame,
    RemoteTree,
    Transport,
    content,
    failure_frame,
    join,
    pack_frame,
    read_frame,
    read_xattrs,
    split_name,
    stat_entry,
    status_from_wire,
    status_to_wire,
    sync_file_system,
)
from backends.tree.processes import Effort, Throttle, threads_fit
from backends.tree.remote_compare import compare_sides
from backends.tree.remove import Removal, RemoveOptions, remove_tree
from backends.tree.rules import Filter, parse_rule
from backends.tree.selection import Bounds, EntrySelector, OnConflict, Selection, SkipReason
from backends.tree.usage import Usage, UsageOptions, measure_tree
from backends.tree.walk import Entry, WalkOptions, walk

__all__ = [
    "DATA_ASPECTS",
    "DONE",
    "SOURCE_NODE",
    "Anchor",
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
    "Frame",
    "Loss",
    "OnConflict",
    "OverlayOptions",
    "OverlayResult",
    "OverlayTrees",
    "Receipt",
    "RemoteTree",
    "Removal",
    "RemoveOptions",
    "Selection",
    "SkipReason",
    "Throttle",
    "Transport",
    "TreeManifest",
    "Usage",
    "UsageOptions",
    "WalkOptions",
    "answer",
    "apply_overlay",
    "below_replaced_of",
    "compare_sides",
    "compare_trees",
    "content",
    "copy_tree",
    "failure_frame",
    "join",
    "measure_tree",
    "pack_frame",
    "parse_rule",
    "probe_granularity",
    "read_frame",
    "read_noted",
    "read_notes",
    "read_xattrs",
    "remove_tree",
    "salvage",
    "split_name",
    "stat_entry",
    "status_from_wire",
    "status_to_wire",
    "sync_file_system",
    "threads_fit",
    "walk",
    "words_of",
]
