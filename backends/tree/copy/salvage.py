"""Move the finished files of a copy from its target into another one that no other process knows.

A process that works on a part may still have its directories and files open, wherever these are
moved. So the directories are created again. Only files of finished parts are moved: no process has
them open any more. The next copy into the new target finds them complete, by length and time.
"""

import os
import stat

from backends.tree.copy.ledger import Ledger
from backends.tree.copy.manifest import TreeManifest
from backends.tree.copy.target import CopyTarget
from backends.tree.files import Anchor
from backends.tree.processes import (
    DEFAULT_EFFORT,
    Effort,
    HelperChannel,
    HelperPool,
    Message,
    Sorter,
)
from core.jobs import Control


def salvage(
    old_fd: int,
    new_fd: int,
    *,
    control: Control,
    manifest: TreeManifest,
    effort: Effort = DEFAULT_EFFORT,
) -> int:
    """Move the files of all parts that a manifest calls done, and return how many.

    Both targets must be on one file system. Costs one rename per file. After a stop, the same call
    continues.

    Raises:
        Interrupted: the control says stop.
        NoSpace, QuotaExceeded, BackendFailed: directories cannot be created.
    """
    links = Sorter()
    old, new = Anchor.duplicate(old_fd), Anchor.duplicate(new_fd)
    moved: list[int] = []
    try:
        done = Ledger(manifest, links).done_parts()
        messages = (("move", [unit[:2] for unit in part.units]) for part in done)
        own = [old.fd, new.fd]
        with HelperPool(
            _Move(old, new), control, effort=effort, size=effort.count(), own_fds=own
        ) as pool:
            pool.run_all(messages, moved.append)
    finally:
        links.close()
    return sum(moved)


class _Move:
    """The helper's side: moves the files of one part after another."""

    def __init__(self, old: Anchor, new: Anchor) -> None:
        self._old = old
        self._new = CopyTarget(new, trust=True, granularity_ns=1)

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Move the files of one part and return how many."""
        moved = 0
        for path, names in message[1]:
            channel.tick()
            moved += self._directory(path, names)
        return moved

    def _directory(self, path: str, names: list[str] | None) -> int:
        try:
            old = self._old.open(path)
        except FileNotFoundError:  # the copy could not read this directory of the source
            return 0
        try:
            new = self._new.directory(path)
            try:
                listed = os.listdir(old) if names is None else names
                return sum(_move(name, old, new) for name in listed)
            finally:
                os.close(new)
        finally:
            os.close(old)


def _move(name: str, old: int, new: int) -> bool:
    """Move an entry that is not a directory; return whether it was moved."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=old, follow_symlinks=False).st_mode):
            return False
        os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
    except (FileNotFoundError, PermissionError):  # not copied, moved before, or not permitted
        return False
    return True
