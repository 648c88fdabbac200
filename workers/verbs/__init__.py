"""The verbs, one file each. They know the run of their job, and never Celery."""

from workers.verbs import objects, restore_over
from workers.verbs.adopt import Adopt
from workers.verbs.clone import Clone
from workers.verbs.delete import Delete, DeleteFiles
from workers.verbs.extract import Extract
from workers.verbs.find import FindEntries
from workers.verbs.move import MovingTransfer
from workers.verbs.object_across import across
from workers.verbs.removed_entries import RestoreEntries, TrashEntries
from workers.verbs.rescan import Rescan
from workers.verbs.trash import Purge, RestoreFromTrash
from workers.verbs.usage import CountUsage

__all__ = [
    "Adopt",
    "Clone",
    "CountUsage",
    "Delete",
    "DeleteFiles",
    "Extract",
    "FindEntries",
    "MovingTransfer",
    "Purge",
    "Rescan",
    "RestoreEntries",
    "RestoreFromTrash",
    "TrashEntries",
    "across",
    "objects",
    "restore_over",
]
