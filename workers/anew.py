"""Where a transfer's copy grows: in the tree that helpers share, or in one for its run alone.

The second comes when a helper hangs in the first (`workers.hands`): another directory, with a
record of its own, because the hanging one may write into both of the first when it wakes.
"""

from contextlib import ExitStack
from pathlib import PurePosixPath

from backends import descriptors
from backends.tree import Manifest as Record
from backends.tree import salvage
from workers.context import Context
from workers.hands import TREE, Hands
from workers.manifest import Manifest

#: The second tree and its record.
ANEW = "anew"
ANEW_RECORD = "anew.manifest"
#: The first one, once nobody may come any more.
LEFT = "left"


def forsake(manifest: Manifest) -> None:
    """From now on the copy grows in the second tree."""
    manifest.mark("alone")


def entered(
    held: ExitStack, staging: int, context: Context, hands: Hands, manifest: Manifest
) -> tuple[str, Record]:
    """The name of the tree in the staging and the record of its copy, for as long as `held` lasts.

    Raises:
        Interrupted: the run has to stop.
        OSError, StorageError: the volume refuses.
    """
    if manifest.last("alone") is None:
        held.enter_context(hands.at(staging))
        return TREE, manifest.record
    if manifest.last("salvaged") is None:
        _salvage(staging, context, manifest)
        manifest.mark("salvaged")
    record = Record.open(staging, ANEW_RECORD)
    held.callback(record.close)
    return ANEW, record


def _salvage(staging: int, context: Context, manifest: Manifest) -> None:
    """Bring over what is done; idempotent."""
    Hands.leave(staging)
    if TREE in descriptors.names(".", staging):
        descriptors.rename_new(TREE, staging, LEFT, staging)
    if LEFT not in descriptors.names(".", staging):
        return
    with ExitStack() as both:
        old = both.enter_context(descriptors.opened(LEFT, staging))
        new = both.enter_context(context.room(staging, PurePosixPath(ANEW)))
        salvage(old, new, control=context.run, manifest=manifest.record, effort=context.effort)
