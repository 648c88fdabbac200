"""Streams that are open for people: each is decided again, and ends when the permission is gone."""

import threading
import time
from collections.abc import Callable

from api.streaming import EventStream
from core.errors import StorageError, Unavailable
from core.telemetry import logger

#: How often each open stream is decided again (seconds).
LOOK_SECONDS = 20.0
_ENDED = b"event: gone\ndata: {}\n\n"
_log = logger(__name__)


class PersonStreams:
    """The open event streams of people, in one process. Its thread starts with the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, tuple[EventStream, Callable[[], object]]] = {}
        self._thread: threading.Thread | None = None

    def add(self, stream: EventStream, decide: Callable[[], object]) -> None:
        """End the stream when `decide` raises that it is not allowed any more."""
        with self._lock:
            self._open[id(stream)] = stream, decide
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access", daemon=True)
                self._thread.start()

    @property
    def count(self) -> int:
        """How many streams are known to be open."""
        with self._lock:
            return len(self._open)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Decide each open stream again; the closed ones are forgotten."""
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if not one[0].closed}
            found = list(self._open.values())
        for stream, decide in found:
            try:
                decide()
            except Unavailable as error:  # what decides is away; it is asked again
                _log.info("stream not decided again", reason=error.detail)
            except StorageError:
                stream.put(_ENDED, last=True)
