"""What is still to do, by lane: each lane is in the hands of one helper at a time."""

from backends.tree.backlog import RECORDS_IN_MEMORY, Backlog


class Lanes:
    """Backlogs of paths side by side, in the memory of one. A single lane is everybody's."""

    def __init__(self, count: int) -> None:
        self._lanes = [Backlog(RECORDS_IN_MEMORY // count) for _ in range(count)]
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def push(self, path: str, lane: int) -> None:
        """Put a path on top of a lane."""
        self._lanes[lane].push(path)

    def free(self) -> int | None:
        """Tell the fullest lane that is in nobody's hands, or None when those have nothing."""
        lanes = [lane for lane in range(len(self._lanes)) if lane not in self._taken]
        fullest = max(lanes, key=lambda lane: len(self._lanes[lane]), default=None)
        return fullest if fullest is not None and len(self._lanes[fullest]) else None

    def take(self, lane: int, most: int) -> list[str]:
        """Take paths from the top of a lane, which stays in the taker's hands until `give_back`."""
        if len(self._lanes) > 1:
            self._taken.add(lane)
        backlog = self._lanes[lane]
        return [path for _ in range(min(most, len(backlog))) if (path := backlog.pop()) is not None]

    def give_back(self, lane: int) -> None:
        """Let others take from a lane again."""
        self._taken.discard(lane)

    def busy(self, helpers: int) -> bool:
        """Tell whether so many helpers have or find work, apart from what was just taken."""
        if len(self._lanes) == 1:
            return len(self) > 2 * helpers
        return self.free() is not None or len(self._taken) >= helpers

    def close(self) -> None:
        """Give the temporary files back."""
        for backlog in self._lanes:
            backlog.close()
