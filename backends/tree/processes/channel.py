"""Messages between a helper and its parent: a length and `marshal` data over a socket pair."""

import marshal
import socket
import struct
import time
from typing import Any

from backends.tree.processes.effort import Throttle
from core.jobs import Counter

#: How often a busy helper reports what it has done, in seconds.
REPORT_SECONDS = 0.1
#: Most bytes read from a connection at a time.
RECEIVE_BYTES = 1 << 18

_HEAD = struct.Struct("!I")

#: A batch or a reply: builtin values that `marshal` accepts.
Message = Any


class Stopped(BaseException):
    """The helper must end at once: its parent no longer reads its replies."""


class HelperChannel:
    """A helper's connection to its parent: partial replies, counts, the current entry, faults.

    A helper that cannot be killed shares a `stop_flag` with its parent. Once the flag is set,
    `count` and `tick` raise `Stopped`.
    """

    def __init__(
        self,
        connection: socket.socket,
        throttle: Throttle | None,
        stop_flag: bytearray | None = None,
    ) -> None:
        self.connection = connection
        self._throttle = throttle
        self.stop_flag = stop_flag or bytearray(1)
        self._counts: dict[str, list[int]] = {}
        self._entry = ""
        self._due = time.monotonic() + REPORT_SECONDS

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to a counter of the parent.

        Counts are sent at most every `REPORT_SECONDS`, and with each final reply. Pauses where a
        limit requires it.

        Raises:
            Stopped: the helper must end.
        """
        sums = self._counts.setdefault(counter.value, [0, 0])
        sums[0] += items
        sums[1] += size_bytes
        self.pace(items, size_bytes)
        self.tick()

    def uncount(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Take back what was counted: the same work is done again."""
        sums = self._counts.setdefault(counter.value, [0, 0])
        sums[0] -= items
        sums[1] -= size_bytes

    @property
    def limited(self) -> bool:
        """Whether a limit is in force at this moment."""
        return self._throttle is not None and any(self._throttle.limits)

    @property
    def bytes_per_second(self) -> float:
        """The limit on bytes that is in force at this moment; 0 means none."""
        return self._throttle.limits[0] if self._throttle is not None else 0.0

    def at_once(self, most: int) -> int:
        """Return how many entries may be done before a pause: 1 to `most`."""
        return self._throttle.at_once(most) if self._throttle is not None else most

    def pace(self, items: int, size_bytes: int = 0) -> None:
        """Pause where a limit requires it."""
        if self._throttle is not None:
            self._throttle.pace(items, size_bytes, self.stop_flag)

    def tick(self) -> None:
        """Send the counts to the parent when a report is due.

        Raises:
            Stopped: the helper must end.
        """
        if self.stop_flag[0]:
            raise Stopped
        now = time.monotonic()
        if now >= self._due:
            self.flush()
            self._due = now + REPORT_SECONDS

    def entry(self, path: str) -> None:
        """Name the entry at work; the next report carries it."""
        self._entry = path

    def wait(self, what: str) -> None:
        """Report at once what the helper waits for, after what it has counted."""
        self.flush()
        self.send(("wait", what))

    def fault(self, path: str, reason: str) -> None:
        """Report an entry that could not be processed."""
        self.send(("fault", path, reason))

    def reply(self, message: Message) -> None:
        """Send a part of the reply before the batch is done."""
        self.send(("reply", message))

    def flush(self) -> None:
        """Send the counts collected so far."""
        if self._counts:
            self.send(("count", [(k, n, b) for k, (n, b) in self._counts.items()], self._entry))
            self._counts = {}

    def send(self, message: Message) -> None:
        """Send one message and wait until the connection has accepted it."""
        self.connection.sendall(pack(message))


def pack(message: Message) -> bytes:
    """Return the bytes of a message as they go over a connection."""
    payload = marshal.dumps(message)
    return _HEAD.pack(len(payload)) + payload


def unpack(incoming: bytearray) -> list[Message]:
    """Remove all complete messages from the front of a buffer and return them."""
    messages: list[Message] = []
    start = 0
    while len(incoming) - start >= _HEAD.size:
        (size,) = _HEAD.unpack_from(incoming, start)
        end = start + _HEAD.size + size
        if end > len(incoming):
            break
        messages.append(marshal.loads(incoming[start + _HEAD.size : end]))  # noqa: S302 - written by our own process
        start = end
    del incoming[:start]
    return messages


def receive(connection: socket.socket) -> Message | None:
    """Wait for the next message and return it, or None when the other side has closed."""
    head = connection.recv(_HEAD.size, socket.MSG_WAITALL)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    payload = bytearray()
    while len(payload) < size:
        chunk = connection.recv(size - len(payload))
        if not chunk:
            return None
        payload += chunk
    return marshal.loads(payload)  # noqa: S302 - written by our own parent
