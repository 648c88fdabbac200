"""The body of a stream of server-sent events: pieces that come when something happens.

WHATWG HTML §9.2 describes the format. A stream holds no thread: a process has one thread that
writes all its streams (`api/server/event_writer.py`).
"""

import threading
from collections.abc import Callable, Iterator

#: How often a stream sends a comment when nothing changes, so that proxies keep it open (seconds).
COMMENT_SECONDS = 10.0
#: A comment that a client skips.
COMMENT = b": alive\n\n"


def _nothing() -> None:
    return


#: The most things of which a reader that is behind gets the newest event; then it has to look.
THINGS_MAX = 1000
#: What a reader gets in place of the events of more things.
LOST = b"event: lost\ndata: {}\n\n"


class EventStream:
    """The body of one response. Each event replaces the one that the reader has not taken.

    So a slow reader gets the newest state, and a stream holds two pieces at most. A stream about
    many things (`add`) holds the newest event of each. Any thread may call any method.
    """

    def __init__(
        self, first: bytes, on_close: Callable[[], None] = _nothing, *, comment: bytes = COMMENT
    ) -> None:
        """Take what is sent at once, and what is sent while nothing happens."""
        self._head = first
        self.comment = comment
        self._newest = b""
        #: By thing, the newest event about it that was not taken.
        self._pieces: dict[str, bytes] = {}
        self._ended = False
        self._on_close = on_close
        #: Its reader is gone, or has all of it.
        self.closed = False
        self._on_change: Callable[[], None] = _nothing
        self._changed = threading.Condition()

    def put(self, piece: bytes, *, last: bool = False) -> None:
        """Send this piece; after the `last` one the response ends."""
        with self._changed:
            if self._ended:
                return
            self._newest = piece
            self._ended = last
            on_change = self._on_change
            self._changed.notify()
        on_change()

    def add(self, thing: str, piece: bytes) -> None:
        """Send this piece, the newest about a thing; its place is behind the others."""
        with self._changed:
            if self._ended:
                return
            self._pieces.pop(thing, None)
            if len(self._pieces) >= THINGS_MAX:
                self._pieces = {"": LOST}
            self._pieces[thing] = piece
            on_change = self._on_change
            self._changed.notify()
        on_change()

    def remark(self, comment: bytes) -> None:
        """Send a comment, unless an event is still to be sent."""
        with self._changed:
            if self._newest or self._pieces or self._ended:
                return
            self._newest = comment
            on_change = self._on_change
            self._changed.notify()
        on_change()

    def follow(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` at each piece from now on, and once for those that are there."""
        with self._changed:
            self._on_change = on_change
        on_change()

    def take(self) -> tuple[bytes, bool]:
        """Return what is to be sent now, and whether the response ends with it."""
        with self._changed:
            return self._take()

    def _take(self) -> tuple[bytes, bool]:
        pieces = [self._head, *self._pieces.values(), self._newest]
        self._head, self._newest, self._pieces = b"", b"", {}
        return b"".join(pieces), self._ended

    def close(self) -> None:
        """End the stream: its reader is gone. A second call does nothing."""
        with self._changed:
            self._ended = self.closed = True
            self._on_change = _nothing
            on_close, self._on_close = self._on_close, _nothing
        on_close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces, for a server that has a thread for each response."""
        while True:
            with self._changed:
                if not (self._head or self._newest or self._pieces or self._ended):
                    self._changed.wait(COMMENT_SECONDS)
                piece, ended = self._take()
            yield piece or (b"" if ended else self.comment)
            if ended:
                return
