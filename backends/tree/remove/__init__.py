"""Delete a tree with helpers. Knows no copy and no volume."""

from backends.tree.remove.remove import Removal, RemoveOptions, remove_tree

__all__ = ["Removal", "RemoveOptions", "remove_tree"]
