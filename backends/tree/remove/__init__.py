"""Delete a tree. Knows the helpers, and nothing of copies."""

from backends.tree.remove.remove import Removal, RemoveOptions, remove_tree

__all__ = ["Removal", "RemoveOptions", "remove_tree"]
