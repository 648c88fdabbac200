"""The node's wish to go down politely, seen by every process of it at once.

A byte of memory shared with the pool's children (made before they are forked): setting it in the
main process is enough, whatever the store or the broker is doing at that moment.
"""

import mmap


class Drain:
    """A flag that forked children see."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def begin(self) -> None:
        """From now on: nothing new, and what runs is released at its next check."""
        self._page[0] = 1

    def end(self) -> None:
        """Take the wish back."""
        self._page[0] = 0

    @property
    def wanted(self) -> bool:
        """Whether the node is going down."""
        return self._page[0] == 1


#: This node's flag; imported by the main process before it forks.
NODE = Drain()
