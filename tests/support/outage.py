"""A store that fails at one chosen call of this process, and for a moment after it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.connection import AbstractConnection

#: The store is away this long, for every thread: longer than the pause of a first retry.
OUTAGE_SECONDS = 0.12


def away(send: Callable[[], None], _: AbstractConnection) -> None:
    """The call is not sent: the server is down."""
    raise redis.ConnectionError("down")


def answer_lost(send: Callable[[], None], connection: AbstractConnection) -> None:
    """The server does what the call says, and dies before it answers."""
    send()
    connection.read_response(disconnect_on_error=False)
    connection.disconnect()
    raise redis.ConnectionError("down")


def full(send: Callable[[], None], _: AbstractConnection) -> None:
    """The server answers that its memory is full."""
    raise redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")


class Outage:
    """Counts the calls of one thread below a named function, and fails one of them."""

    def __init__(self, below: str, at: int, kind: Callable[..., None], seconds: float) -> None:
        self._below = below
        self._seconds = seconds
        self._at = at
        self._kind = kind
        self._thread = threading.get_ident()
        self._until = 0.0
        self.calls = 0

    def sent(self, send: Callable[[], None], connection: AbstractConnection) -> None:
        """Send a call, or fail it."""
        if time.monotonic() < self._until:
            return (away if self._kind is answer_lost else self._kind)(send, connection)
        if threading.get_ident() == self._thread and _is_below(self._below):
            self.calls += 1
            if self.calls == self._at:
                self._until = time.monotonic() + self._seconds
                return self._kind(send, connection)
        return send()


def _is_below(name: str) -> bool:
    frame = sys._getframe(1)
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment] # ends the loop
    return name in names and "on_connect" not in names


@contextmanager
def outage(
    below: str, at: int, kind: Callable[..., None] = away, seconds: float = OUTAGE_SECONDS
) -> Iterator[Outage]:
    """Fail the call number `at` (from 1) that this thread sends below a function; 0 fails none.

    All calls of the process fail for `seconds` after it.
    """
    failing = Outage(below, at, kind, seconds)
    send = AbstractConnection.send_packed_command

    def hooked(self: AbstractConnection, *args: Any, **more: Any) -> None:
        failing.sent(lambda: send(self, *args, **more), self)

    AbstractConnection.send_packed_command = hooked  # type: ignore[method-assign] # put back below
    try:
        yield failing
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign] # as it was
