"""What is still to do, by shard: each shard is in the hands of one helper at a time."""

from backends.tree.backlog import RECORDS_IN_MEMORY, Backlog


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
