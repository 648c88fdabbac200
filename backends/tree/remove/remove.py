"""Delete a tree by descriptor, by helpers; resumable because deleting again is the same.

A helper takes directories and clears what is below them, children first, dropping each directory
as it gets empty (small ones without coming back to Python); after a stretch of work it hands back
what it has not come to, for others to take. On xfs each helper keeps to one allocation group at a
time, so that none waits for another (`groups`). The directories of which it had begun the content,
but not ended it, are dropped last. What resists (an immutable entry that may not be changed, a file
some NFS client still has open, a mount) is named and left, with the directories above it.
"""

import os
from collections import Counter as Tally
from dataclasses import dataclass, field

from backends.tree.allocation_groups import ONE_GROUP, Groups, xfs_groups
from backends.tree.files import READ_DIRECTORY, Anchor, file_system, split_name
from backends.tree.processes import (
    DEFAULT_EFFORT,
    RECORDS_IN_MEMORY,
    Backlog,
    Effort,
    HelperPool,
    Message,
)
from backends.tree.remove.work import RemoveWork
from core.jobs import Control, Counter

#: A helper hands back the rest of a batch after so many entries: few while others wait for work.
STRETCH_ENTRIES = 1024
STRETCH_ENTRIES_SHARED = 64
#: A helper that works alone has nobody to leave the rest to.
STRETCH_ENTRIES_ALONE = 4096
#: Most directories handed to a helper at a time.
BATCH_DIRECTORIES = 32
#: How many entries that resist are named.
LEFT_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """How to delete. With `keep_root` the directory itself stays, empty."""

    keep_root: bool = False
    effort: Effort = DEFAULT_EFFORT


@dataclass(slots=True)
class Removal:
    """What was deleted by this run, and what resisted."""

    files: int = 0
    directories: int = 0
    remaining: int = 0
    remaining_named: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return not self.remaining


def remove_tree(
    parent_fd: int,
    name: str,
    *,
    control: Control,
    options: RemoveOptions = RemoveOptions(),
) -> Removal:
    """Delete the entry `name` of a directory and everything below it; gone already is fine.

    Never follows a link, never enters a mount.

    Raises:
        Interrupted: the control says stop; the rest stays, and a later call goes on.
    """
    removal = Removal()
    try:
        fd = os.open(name, READ_DIRECTORY | os.O_PATH, dir_fd=parent_fd)
    except FileNotFoundError:
        return removal
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent_fd)
        removal.files += 1
        return removal
    _Removing(fd, control, options, removal).run()
    if not options.keep_root and removal.complete:
        control.check()
        os.rmdir(name, dir_fd=parent_fd)
        removal.directories += 1
    return removal


class _Removing:
    """The parent's side; closes `fd` at the end."""

    def __init__(self, fd: int, control: Control, options: RemoveOptions, removal: Removal) -> None:
        self._anchor = Anchor(fd)
        self._control = control
        self._effort = options.effort
        self._size, self._groups = _spread(fd, options.effort)
        self._pending = Shards(self._groups.shards)
        self._emptied = Backlog()
        self._awaited: Tally[str] = Tally()
        self._removal = removal

    def run(self) -> None:
        root = os.stat(".", dir_fd=self._anchor.fd)
        self._pending.push("", self._groups.shard(root.st_ino))
        try:
            with HelperPool(
                RemoveWork(self._anchor, self._effort.loops, self._groups),
                self._control,
                effort=self._effort,
                size=self._size,
                own_fds=[self._anchor.fd],
            ) as pool:
                pool.run(self._next_to_clear, self._settle)
                pool.run(self._next_to_drop, self._settle)
        finally:
            self._pending.close()
            self._emptied.close()

    def _next_to_clear(self) -> Message | None:
        shard = self._pending.free()
        if shard is None:
            return None
        batch = self._pending.take(shard, self._share())
        return ("clear", batch, self._stretch(), shard)

    def _share(self) -> int:
        if self._groups.shards > 1:  # nobody else may have the shard's others meanwhile
            return BATCH_DIRECTORIES
        return min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))

    def _stretch(self) -> int:
        if self._size == 1:
            return STRETCH_ENTRIES_ALONE
        enough = self._pending.busy(self._size)
        return STRETCH_ENTRIES if enough else STRETCH_ENTRIES_SHARED

    def _next_to_drop(self) -> Message | None:
        """Give emptied directories, none of which has a child that another helper still drops."""
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._emptied.pop()) is not None:
            if self._awaited[path]:
                self._emptied.push(path)
                break
            batch.append(path)
        for path in batch:
            self._awaited[split_name(path)[0]] += 1
        return ("drop", batch, 0, 0) if batch else None

    def _settle(self, reply: Message) -> None:
        files, below, emptied, dropped, left, tried, shard = reply
        if shard is not None:
            self._pending.give_back(shard)
        for path in emptied:  # those above come before those below
            self._emptied.push(path)
        for path, place in below:
            self._pending.push(path, place)
        for path in tried:
            parent = split_name(path)[0]
            self._awaited[parent] -= 1
            if not self._awaited[parent]:
                del self._awaited[parent]
        removal = self._removal
        removal.files += files
        removal.directories += dropped
        removal.remaining += len(left)
        removal.remaining_named += left[: LEFT_NAMED - len(removal.remaining_named)]
        for path, reason in left:
            self._control.fault(path, reason)
        self._control.count(Counter.DELETED, files + dropped)


def _spread(fd: int, effort: Effort) -> tuple[int, Groups]:
    """Tell how many helpers to use, and which groups to keep apart between them.

    Helpers on an XFS that has a single group would only wait for each other.
    """
    if file_system(fd) != "xfs":
        return effort.count(), ONE_GROUP
    groups = xfs_groups(fd)
    size = min(effort.count(), effort.helpers or groups.count)
    return size, groups if size > 1 else ONE_GROUP


class Shards:
    """Backlogs of paths side by side, in the memory of one. A single shard is everybody's."""

    def __init__(self, count: int) -> None:
        self._shards = [Backlog(RECORDS_IN_MEMORY // count) for _ in range(count)]
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def push(self, path: str, shard: int) -> None:
        """Put a path on top of a shard."""
        self._shards[shard].push(path)

    def free(self) -> int | None:
        """Tell the fullest shard that is in nobody's hands, or None when those have nothing."""
        shards = [shard for shard in range(len(self._shards)) if shard not in self._taken]
        fullest = max(shards, key=lambda shard: len(self._shards[shard]), default=None)
        return fullest if fullest is not None and len(self._shards[fullest]) else None

    def take(self, shard: int, most: int) -> list[str]:
        """Take paths from the top of a shard; it stays in the taker's hands until `give_back`."""
        if len(self._shards) > 1:
            self._taken.add(shard)
        backlog = self._shards[shard]
        return [path for _ in range(min(most, len(backlog))) if (path := backlog.pop()) is not None]

    def give_back(self, shard: int) -> None:
        """Let others take from a shard again."""
        self._taken.discard(shard)

    def busy(self, helpers: int) -> bool:
        """Tell whether so many helpers have or find work, apart from what was just taken."""
        if len(self._shards) == 1:
            return len(self) > 2 * helpers
        return self.free() is not None or len(self._taken) >= helpers

    def close(self) -> None:
        """Give the temporary files back."""
        for backlog in self._shards:
            backlog.close()
