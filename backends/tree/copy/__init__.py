"""Copy a tree and lay the copy over a live one, resumable by a manifest. Knows no volume."""

from backends.tree.copy.copy import CopyOptions, copy_tree
from backends.tree.copy.ledger import noted
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.overlay import Overlay, OverlayOptions, Trees, lay_over
from backends.tree.copy.receipt import Loss, Receipt
from backends.tree.copy.salvage import salvage

__all__ = [
    "CopyOptions",
    "Loss",
    "Overlay",
    "OverlayOptions",
    "Receipt",
    "TreeManifest",
    "Trees",
    "copy_tree",
    "lay_over",
    "noted",
    "salvage",
]
