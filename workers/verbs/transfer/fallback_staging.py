"""Where a transfer's copy grows: in the tree that helpers share, or in one for its run alone.

The second comes when a helper hangs in the first (`workers.verbs.transfer.helpers`): another
directory and another record beside it, because the hanging one may write into both of the first
when it wakes. Helpers never have the job's own manifest, which they could keep from its run.
"""

from contextlib import ExitStack
from pathlib import PurePosixPath

from backends.fs import descriptors
from backends.tree import TreeManifest, salvage
from workers.run import Context, Manifest
from workers.verbs.transfer.helpers import TREE, TransferHelpers

#: The second tree.
ANEW = "anew"
#: The first one, once nobody may come any more.
LEFT = "left"


def forsake(manifest: Manifest) -> None:
    """From now on the copy grows in the second tree."""
    manifest.mark("alone")


def record_of(tree: str) -> str:
    """The name of a tree's record beside it."""
    return f"{tree}.manifest"


def entered(
    held: ExitStack, staging: int, context: Context, hands: TransferHelpers, manifest: Manifest
) -> tuple[str, TreeManifest]:
    """The name of the tree in the staging and the record of its copy, for as long as `held` lasts.

    Raises:
        Interrupted: the run has to stop; `HelperHangs` when one hangs while it appends.
        OSError, StorageError: the volume refuses.
    """

    def waiting() -> None:
        context.run.check()
        hands.look()

    tree = TREE if manifest.last("alone") is None else ANEW
    if tree == TREE:
        held.enter_context(hands.at(staging))
    elif manifest.last("salvaged") is None:
        _salvage(staging, context)
        manifest.mark("salvaged")
    record = TreeManifest.open(staging, record_of(tree), waiting)
    held.callback(record.close)
    return tree, record


def _salvage(staging: int, context: Context) -> None:
    """Bring over what is done; idempotent."""
    TransferHelpers.leave(staging)
    if TREE in descriptors.names(".", staging):
        descriptors.rename_new(TREE, staging, LEFT, staging)
    if LEFT not in descriptors.names(".", staging):
        return
    with ExitStack() as both:
        old = both.enter_context(descriptors.opened(LEFT, staging))
        new = both.enter_context(context.room(staging, PurePosixPath(ANEW)))
        record = TreeManifest.open(staging, record_of(TREE), read_only=True)
        both.callback(record.close)
        salvage(old, new, control=context.run, manifest=record, effort=context.effort)
