"""Copy a tree, resumable by a manifest, and lay it over a live tree. Knows no volume."""

from backends.tree.copy.copy import CopyOptions, copy_tree
from backends.tree.copy.ledger import read_notes
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.overlay import OverlayOptions, OverlayResult, OverlayTrees, apply_overlay
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.copy.salvage import salvage

__all__ = [
    "CopyOptions",
    "Loss",
    "OverlayOptions",
    "OverlayResult",
    "OverlayTrees",
    "Receipt",
    "TreeManifest",
    "apply_overlay",
    "copy_tree",
    "read_notes",
    "salvage",
]
