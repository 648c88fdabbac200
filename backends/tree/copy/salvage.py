"""Take what a copy has done out of its target into another one, where nobody else can write.

Whoever works on a part may have its directories and files open, wherever these are moved to. So
directories are made anew, and of the files only those of parts that are done are moved: nobody has
them open any more. The next copy into the other target finds them whole, by length and time.
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
    """Move the files of all parts that a manifest calls done; how many.

    Both targets are on one file system. Costs one rename per file. Stopped anywhere it is taken up
    again by the same call.

    Raises:
        Interrupted: the control says stop.
        NoSpace, QuotaExceeded, BackendFailed: directories cannot be made.
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
    """The helper's side: one part after another."""

    def __init__(self, old: Anchor, new: Anchor) -> None:
        self._old = old
        self._new = CopyTarget(new, trust=True, granularity_ns=1)

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Move the files of one part."""
        moved = 0
        for path, names in message[1]:
            channel.tick()
            moved += self._directory(path, names)
        return moved

    def _directory(self, path: str, names: list[str] | None) -> int:
        try:
            old = self._old.open(path)
        except FileNotFoundError:  # the source's was not to be read
            return 0
        try:
            new = self._new.directory(path)
            try:
                listed = os.listdir(old) if names is None else names
                return sum(_moved(name, old, new) for name in listed)
            finally:
                os.close(new)
        finally:
            os.close(old)


def _moved(name: str, old: int, new: int) -> bool:
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=old, follow_symlinks=False).st_mode):
            return False
        os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
    except (FileNotFoundError, PermissionError):  # not copied, moved before, or not ours to move
        return False
    return True
