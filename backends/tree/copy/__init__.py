"""Copy a tree, resumable by a manifest, and lay it over a live tree. Knows no volume."""

from backends.tree.copy.answer import answer
from backends.tree.copy.copy import CopyOptions, copy_tree
from backends.tree.copy.ledger import read_noted, read_notes
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.overlay import OverlayOptions, OverlayResult, OverlayTrees, apply_overlay
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.copy.receiver import SOURCE_NODE
from backends.tree.copy.salvage import salvage
from backends.tree.copy.target import probe_granularity
from backends.tree.copy.verification import below_replaced_of, words_of

__all__ = [
    "SOURCE_NODE",
    "CopyOptions",
    "Loss",
    "OverlayOptions",
    "OverlayResult",
    "OverlayTrees",
    "Receipt",
    "TreeManifest",
    "answer",
    "apply_overlay",
    "below_replaced_of",
    "copy_tree",
    "probe_granularity",
    "read_noted",
    "read_notes",
    "salvage",
    "words_of",
]
