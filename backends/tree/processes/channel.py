"""How helpers and their parent talk: length and `marshal` over a socket pair of our own."""

import marshal
import socket
import struct
import time
from typing import Any

from backends.tree.processes.effort import Throttle
from core.jobs import Counter

#: How often a busy helper tells what it has done, in seconds.
REPORT_SECONDS = 0.1
#: Most bytes read from a channel at a time.
RECEIVE_BYTES = 1 << 18

_HEAD = struct.Struct("!I")

#: A batch or a reply: builtin values that `marshal` takes.
Message = Any


class Stopped(BaseException):
    """The helper is to end at once; nobody waits for what it does."""


class HelperChannel:
    """A helper's way to its parent: partial replies, counts, the entry at work, faults.

    A helper that cannot be killed has a `flag`: once that is set, `count` and `tick` raise.
    """

    def __init__(
        self,
        channel: socket.socket,
        throttle: Throttle | None,
        flag: bytearray | None = None,
    ) -> None:
        self.channel = channel
        self._throttle = throttle
        self.flag = flag or bytearray(1)
        self._counts: dict[str, list[int]] = {}
        self._entry = ""
        self._due = time.monotonic() + REPORT_SECONDS

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Count for the parent; sent at most every `REPORT_SECONDS` and with each reply."""
        sums = self._counts.setdefault(counter.value, [0, 0])
        sums[0] += items
        sums[1] += size_bytes
        self.pace(items, size_bytes)
        self.tick()

    @property
    def limited(self) -> bool:
        """Whether a limit is in force just now."""
        return self._throttle is not None and any(self._throttle.limits)

    @property
    def bytes_per_second(self) -> float:
        """The limit on bytes that is in force just now; 0 means none."""
        return self._throttle.limits[0] if self._throttle is not None else 0.0

    def pace(self, items: int, size_bytes: int = 0) -> None:
        """Pause where a limit says so."""
        if self._throttle is not None:
            self._throttle.pace(items, size_bytes, self.flag)

    def tick(self) -> None:
        """Tell the parent what has been counted, if it is time.

        Raises:
            Stopped: the helper is to end.
        """
        if self.flag[0]:
            raise Stopped
        now = time.monotonic()
        if now >= self._due:
            self.flush()
            self._due = now + REPORT_SECONDS

    def entry(self, path: str) -> None:
        """Name the entry at work, with the next report."""
        self._entry = path

    def fault(self, path: str, reason: str) -> None:
        """Tell an entry that could not be done."""
        self.send(("fault", path, reason))

    def reply(self, message: Message) -> None:
        """Send a piece of the answer before the batch is done."""
        self.send(("reply", message))

    def flush(self) -> None:
        """Send what has been counted."""
        if self._counts:
            self.send(("count", [(k, n, b) for k, (n, b) in self._counts.items()], self._entry))
            self._counts = {}

    def send(self, message: Message) -> None:
        """Send one message and wait until the channel took it."""
        self.channel.sendall(pack(message))


def pack(message: Message) -> bytes:
    """Give the bytes that stand for a message on a channel."""
    payload = marshal.dumps(message)
    return _HEAD.pack(len(payload)) + payload


def unpack(incoming: bytearray) -> list[Message]:
    """Take the whole messages from the front of what has come."""
    found: list[Message] = []
    start = 0
    while len(incoming) - start >= _HEAD.size:
        (size,) = _HEAD.unpack_from(incoming, start)
        end = start + _HEAD.size + size
        if end > len(incoming):
            break
        found.append(marshal.loads(incoming[start + _HEAD.size : end]))  # noqa: S302 - written by our own process
        start = end
    del incoming[:start]
    return found


def receive(channel: socket.socket) -> Message | None:
    """Wait for the next message; None when the other side is gone."""
    head = channel.recv(_HEAD.size, socket.MSG_WAITALL)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    parts = bytearray()
    while len(parts) < size:
        chunk = channel.recv(size - len(parts))
        if not chunk:
            return None
        parts += chunk
    return marshal.loads(parts)  # noqa: S302 - written by our own parent
