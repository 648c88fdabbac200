"""The count of a quota scope whose vfolders are objects."""

import time

from backends.entries.object_tree import HasObjects
from backends.entries.scope_inventory import take_inventory
from backends.quota import quick_usage
from core.errors import VFolderNotFound


def count_objects(objects: HasObjects, directory: int) -> int | None:
    """Return the bytes of the objects of a scope, whose directory is open; the trash is left out.

    None when there are too many to count while a caller waits: a rescan counts them.

    Raises:
        StorageError: the object storage fails.
    """
    until = time.monotonic() + quick_usage.SECONDS_MAX
    total = 0
    for path in take_inventory(directory, top=False).vfolders:
        try:
            sums = objects.tree_at(path, directory).count()
        except (FileNotFoundError, VFolderNotFound):  # deleted meanwhile, or it never had objects
            continue
        if sums is None or time.monotonic() > until:
            return None
        total += sums.size_bytes
    return total
