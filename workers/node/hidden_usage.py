"""How many bytes our own rooms of a volume take: counted by every sweep, for a bounded time."""

import time
from itertools import product

from backends.fs import descriptors, layout
from backends.tree import Effort, UsageOptions, measure_tree
from core.jobs import Unattended

#: One room of a volume is not counted for longer; then its size is not known.
SECONDS_MAX = 5.0
ROOMS = {"staging": (layout.STAGING, layout.UPLOADS), "trash": (layout.TRASH,)}
_ALONE = UsageOptions(effort=Effort(helpers=1))


def measured(root: int) -> dict[str, int | None]:
    """Allocated bytes by room, over all scopes of the volume; None when they are not known."""
    scopes = layout.scopes(root)
    return {name: _bytes(root, scopes, rooms) for name, rooms in ROOMS.items()}


def _bytes(root: int, scopes: list[str], rooms: tuple[str, ...]) -> int | None:
    deadline = time.monotonic() + SECONDS_MAX
    found = 0
    for scope, room in product(scopes, rooms):
        try:
            with descriptors.opened(layout.scope_area(scope, room), root) as top:
                usage = measure_tree(top, control=Unattended(), deadline=deadline, options=_ALONE)
        except (FileNotFoundError, NotADirectoryError):
            continue  # no such room
        except OSError:
            return None
        if not usage.complete:
            return None
        found += usage.allocated_bytes
    return found
