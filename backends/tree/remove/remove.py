"""Delete a tree with helpers, by descriptor. Resumable: a second deletion does what remains.

A helper gets directories and clears what is below them, children first. It drops each directory
once it has become empty (small ones inside the C loop). After a stretch of work it returns the
directories it has not reached, for other helpers. On xfs each helper works in one allocation group
at a time, so that none waits for another (`allocation_groups`). Directories whose content it had
begun but not finished are dropped last.

Some entries cannot be deleted: an immutable entry that may not be changed, a file that an NFS
client still has open, a mount. They are reported and stay, with the directories above them.
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

#: A helper returns the rest of a batch after this many entries: few while others wait for work.
STRETCH_ENTRIES = 1024
STRETCH_ENTRIES_SHARED = 64
#: The same for a helper that works alone: no other helper could take the rest.
STRETCH_ENTRIES_ALONE = 4096
#: Most directories in one batch.
BATCH_DIRECTORIES = 32
#: Most entries that cannot be deleted and that a result names.
REMAINING_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """How to delete. With `keep_root` the empty directory itself stays."""

    keep_root: bool = False
    effort: Effort = DEFAULT_EFFORT


@dataclass(slots=True)
class Removal:
    """What this run deleted, and what could not be deleted."""

    files: int = 0
    directories: int = 0
    remaining: int = 0
    remaining_named: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything was deleted."""
        return not self.remaining


def remove_tree(
    parent_fd: int,
    name: str,
    *,
    control: Control,
    options: RemoveOptions = RemoveOptions(),
) -> Removal:
    """Delete the entry `name` of a directory and everything below it, if it exists.

    Never follows a link, never enters a mount.

    Raises:
        Interrupted: the control says stop; the rest stays, and a later call continues.
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
    _RemoveRun(fd, control, options, removal).run()
    if not options.keep_root and removal.complete:
        control.check()
        os.rmdir(name, dir_fd=parent_fd)
        removal.directories += 1
    return removal


class _RemoveRun:
    """The parent's side; closes `fd` at the end."""

    def __init__(self, fd: int, control: Control, options: RemoveOptions, removal: Removal) -> None:
        self._anchor = Anchor(fd)
        self._control = control
        self._effort = options.effort
        self._size, self._groups = _helpers_and_groups(fd, options.effort)
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
                pool.run(self._next_to_clear, self._on_reply)
                pool.run(self._next_to_drop, self._on_reply)
        finally:
            self._pending.close()
            self._emptied.close()

    def _next_to_clear(self) -> Message | None:
        shard = self._pending.fullest_free()
        if shard is None:
            return None
        batch = self._pending.take(shard, self._share())
        return ("clear", batch, self._stretch(), shard)

    def _share(self) -> int:
        if self._groups.shards > 1:  # no other helper may have directories of this shard meanwhile
            return BATCH_DIRECTORIES
        return min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))

    def _stretch(self) -> int:
        if self._size == 1:
            return STRETCH_ENTRIES_ALONE
        enough = self._pending.has_work_for(self._size)
        return STRETCH_ENTRIES if enough else STRETCH_ENTRIES_SHARED

    def _next_to_drop(self) -> Message | None:
        """Return a batch of empty directories, of which no helper still drops a child."""
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._emptied.pop()) is not None:
            if self._awaited[path]:
                self._emptied.push(path)
                break
            batch.append(path)
        for path in batch:
            self._awaited[split_name(path)[0]] += 1
        return ("drop", batch, 0, 0) if batch else None

    def _on_reply(self, reply: Message) -> None:
        files, below, emptied, dropped, failed, tried, shard = reply
        if shard is not None:
            self._pending.release(shard)
        for path in emptied:  # parents come before their children
            self._emptied.push(path)
        for path, shard_below in below:
            self._pending.push(path, shard_below)
        for path in tried:
            parent = split_name(path)[0]
            self._awaited[parent] -= 1
            if not self._awaited[parent]:
                del self._awaited[parent]
        removal = self._removal
        removal.files += files
        removal.directories += dropped
        removal.remaining += len(failed)
        removal.remaining_named += failed[: REMAINING_NAMED - len(removal.remaining_named)]
        for path, reason in failed:
            self._control.fault(path, reason)
        self._control.count(Counter.DELETED, files + dropped)


def _helpers_and_groups(fd: int, effort: Effort) -> tuple[int, Groups]:
    """Return how many helpers to use, and the groups to divide between them.

    Helpers on an XFS with a single group would only wait for each other.
    """
    if file_system(fd) != "xfs":
        return effort.count(), ONE_GROUP
    groups = xfs_groups(fd)
    size = min(effort.count(), effort.helpers or groups.count)
    return size, groups if size > 1 else ONE_GROUP


class Shards:
    """Backlogs of paths, one for each shard, in the memory of one backlog.

    One helper at a time has a shard, and no other may take from it. But a single shard is free for
    all helpers.
    """

    def __init__(self, count: int) -> None:
        self._shards = [Backlog(RECORDS_IN_MEMORY // count) for _ in range(count)]
        self._reserved: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def push(self, path: str, shard: int) -> None:
        """Put a path on top of a shard."""
        self._shards[shard].push(path)

    def fullest_free(self) -> int | None:
        """Return the fullest shard that no helper has, or None when all of these are empty."""
        shards = [shard for shard in range(len(self._shards)) if shard not in self._reserved]
        fullest = max(shards, key=lambda shard: len(self._shards[shard]), default=None)
        return fullest if fullest is not None and len(self._shards[fullest]) else None

    def take(self, shard: int, most: int) -> list[str]:
        """Remove and return paths from the top of a shard, and reserve it until `release`."""
        if len(self._shards) > 1:
            self._reserved.add(shard)
        backlog = self._shards[shard]
        return [path for _ in range(min(most, len(backlog))) if (path := backlog.pop()) is not None]

    def release(self, shard: int) -> None:
        """Let other helpers take from a shard again."""
        self._reserved.discard(shard)

    def has_work_for(self, helpers: int) -> bool:
        """Return whether this many helpers have or find work, without the batch just taken."""
        if len(self._shards) == 1:
            return len(self) > 2 * helpers
        return self.fullest_free() is not None or len(self._reserved) >= helpers

    def close(self) -> None:
        """Delete the temporary files."""
        for backlog in self._shards:
            backlog.close()
