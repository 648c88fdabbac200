"""How many bytes our own rooms of a volume take: counted by every sweep, for a bounded time."""

import os
import stat
import time
from itertools import product

from backends import descriptors, layout

#: One room of a volume is not counted for longer; then its size is not known.
SECONDS_MAX = 5.0
#: st_blocks counts in units of this many bytes (stat(2)).
_BLOCK_BYTES = 512
ROOMS = {"staging": (layout.STAGING, layout.UPLOADS), "trash": (layout.TRASH,)}


def measured(root: int) -> dict[str, int | None]:
    """Allocated bytes by room, over all scopes of the volume; None when there was no time."""
    scopes = layout.scopes(root)
    return {name: _bytes(root, scopes, rooms) for name, rooms in ROOMS.items()}


def _bytes(root: int, scopes: list[str], rooms: tuple[str, ...]) -> int | None:
    deadline = time.monotonic() + SECONDS_MAX
    found = 0
    for scope, room in product(scopes, rooms):
        size = _below(root, scope, room, deadline)
        if size is None:
            return None
        found += size
    return found


def _below(root: int, scope: str, room: str, deadline: float) -> int | None:
    found = 0
    try:
        with descriptors.opened(layout.scope_area(scope, room), root) as top:
            for _, _, files, current in os.fwalk(".", dir_fd=top):
                if time.monotonic() > deadline:
                    return None
                found += sum(_allocated(name, current) for name in files)
    except (FileNotFoundError, NotADirectoryError):
        return found  # no such room, or what was there is gone
    except OSError:
        return None
    return found


def _allocated(name: str, directory: int) -> int:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_blocks * _BLOCK_BYTES if stat.S_ISREG(status.st_mode) else 0
