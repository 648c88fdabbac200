"""How to copy a tree."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.tree.effort import DEFAULT_EFFORT, Effort
from backends.tree.selection import Selection

#: Least time between two syncs of the target while parts are being done, in seconds.
CHECKPOINT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy. `durable=False` leaves bringing everything to disk to the caller.

    Parts are synced and marked done at least `checkpoint_seconds` apart.
    `verify` names a digest (`content.DIGESTS`): at the end both trees are read again, the target
    from disk where the system allows, and what differs counts as failed. When `digest` names the
    same, it is taken of each file while that is read, and only the target is read again at the end
    (`verification` tells what that proves).

    Without `root_attributes` the target directory itself keeps its own. Without a `selection`
    everything is taken. With `parts_only` it helps another node with the parts of its plan that are
    free, if there is one, and leaves the rest to it. `waiting` is called again and again while
    there is only another node to wait for; what it raises ends the copy.
    """

    durable: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    verify: str | None = None
    digest: str | None = None
    root_attributes: bool = True
    cross_mounts: bool = False
    selection: Selection | None = None
    parts_only: bool = False
    waiting: Callable[[], None] | None = None
    effort: Effort = DEFAULT_EFFORT


DEFAULT_COPY = CopyOptions()
