"""The tree engine: walk, copy, delete, measure and compare trees of any size.

Everything works on descriptors of directories that the caller resolved and opened (O_PATH will
do), never follows a link, never leaves the root, keeps its memory flat, and can be stopped and
taken up again at any instruction. The work is done by forked helpers (`crew`); the calling process
only asks `control` and adds up, so it stays answerable when a storage hangs. A C
part does the inner loops where one was built (`fast`).
"""

from backends.tree.compare import compare_trees
from backends.tree.copy import CopyOptions, copy_tree
from backends.tree.difference import Aspect, CompareOptions, Difference
from backends.tree.effort import Effort
from backends.tree.manifest import Manifest
from backends.tree.receipt import Loss, Receipt
from backends.tree.remove import Removal, RemoveOptions, remove_tree
from backends.tree.rules import Filter, parse_rule
from backends.tree.throttle import Throttle
from backends.tree.usage import Usage, UsageOptions, measure_tree
from backends.tree.walk import Entry, WalkOptions, walk

__all__ = [
    "Aspect",
    "CompareOptions",
    "CopyOptions",
    "Difference",
    "Effort",
    "Entry",
    "Filter",
    "Loss",
    "Manifest",
    "Receipt",
    "Removal",
    "RemoveOptions",
    "Throttle",
    "Usage",
    "UsageOptions",
    "WalkOptions",
    "compare_trees",
    "copy_tree",
    "measure_tree",
    "parse_rule",
    "remove_tree",
    "walk",
]
