"""Compare two trees in every class of attributes; verifies copies, and tests.

Directory by directory: both sides are listed, what is only on one side is told, what is on both
is compared. Content by size, or by digest of every byte.
"""

import os
import struct
from collections import deque
from collections.abc import Iterator

from backends.tree.anchor import Anchor
from backends.tree.backlog import Backlog, Sorter
from backends.tree.channel import Message
from backends.tree.compare_helper import CompareWork
from backends.tree.crew import Crew
from backends.tree.difference import Aspect, CompareOptions, Difference
from core.jobs import Control

#: Most directories handed to a helper at a time.
BATCH_DIRECTORIES = 16

_PAIR = struct.Struct(">QQQQ")


def compare_trees(
    a_fd: int,
    b_fd: int,
    *,
    control: Control,
    options: CompareOptions = CompareOptions(),  # noqa: B008 - frozen
) -> Iterator[Difference]:
    """Tell how the tree at `b_fd` differs from the one at `a_fd`, roots included, as found.

    Fifos, sockets and devices on the left are passed over unless `options.specials`. Memory grows
    with the differences, not with the trees. Nothing yielded means equal. The descriptors stay open
    until the last difference was taken.

    Raises:
        Interrupted: the control says stop.
    """
    comparison = _Comparison(Anchor.again(a_fd), Anchor.again(b_fd), control, options)
    try:
        yield from comparison.run()
    finally:
        comparison.close()


class _Comparison:
    """The parent's side."""

    def __init__(self, a: Anchor, b: Anchor, control: Control, options: CompareOptions) -> None:
        self._a = a
        self._b = b
        self._control = control
        self._options = options
        self._pending = Backlog()
        self._big: deque[str] = deque()
        self._pairs = (Sorter(), Sorter())
        self._size = options.effort.count()
        self._found: list[Difference] = []

    def close(self) -> None:
        self._pending.close()
        for sorter in self._pairs:
            sorter.close()

    def run(self) -> Iterator[Difference]:
        self._pending.push("")
        with Crew(
            CompareWork(self._a, self._b, self._options),
            self._control,
            effort=self._options.effort,
            size=self._size,
            own_fds=[self._a.fd, self._b.fd],
        ) as crew:
            crew.run(self._take, self._settle)
        if Aspect.LINK not in self._options.skip:
            self._compare_links()
        yield from self._found

    def _take(self) -> Message | None:
        if self._big:
            return ("file", [self._big.popleft()])
        batch: list[str] = []
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("directories", batch) if batch else None

    def _settle(self, reply: Message) -> None:
        below, big, differences, pairs = reply
        self._big.extend(big)
        for path in below:
            self._pending.push(path)
        for path, aspect, detail in differences:
            self._found.append(Difference(path, Aspect(aspect), detail))
        for a, b, path in pairs:
            encoded = os.fsencode(path)
            self._pairs[0].add(_PAIR.pack(*a, *b) + encoded)
            self._pairs[1].add(_PAIR.pack(*b, *a) + encoded)

    def _compare_links(self) -> None:
        """Names of one file on one side must be names of one file on the other."""
        for sorter in self._pairs:
            last = (b"", b"")
            for record in sorter:
                now = (record[:16], record[16:32])
                if now[0] == last[0] and now[1] != last[1]:
                    path = os.fsdecode(record[32:])
                    self._found.append(Difference(path, Aspect.LINK, "linked on one side only"))
                last = now
