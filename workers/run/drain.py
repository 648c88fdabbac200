"""The node's wish to rest, seen by every process of it at once.

A page of memory shared with the pool's children (made before they are forked): setting it in the
main process is enough, whatever the store or the broker is doing at that moment.
"""

import mmap

_GOING_DOWN, _ON_REQUEST = 0, 1


class Drain:
    """Two flags that forked children see."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def begin(self) -> None:
        """The node is going down: nothing new, and what runs is released at its next check."""
        self._page[_GOING_DOWN] = 1

    def ask(self, *, on_request: bool) -> None:
        """Somebody asked the node to drain, or took that back."""
        self._page[_ON_REQUEST] = on_request

    @property
    def wanted(self) -> bool:
        """Whether the node shall rest."""
        return bool(self._page[_GOING_DOWN] or self._page[_ON_REQUEST])


#: This node's flags; made by the main process before it forks.
NODE = Drain()
