"""POSTs of JSON to one URL of the settings: one deadline for all of a call, and no redirects.

Import this module by name: urllib3 takes long to load.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

#: After so many failures in a row no call is made for so long (seconds).
FAILURES_MAX = 5
OPEN_SECONDS = 10.0
_OK = 200


class NoAnswer(Exception):
    """A call has no answer; the text says why, without the URL."""


class PostAnswer(NamedTuple):
    """The status of an answer, and its body."""

    status: int
    data: bytes


class Certificates(NamedTuple):
    """Files in PEM: the authority that a call trusts (None: the system's), and the caller's own."""

    ca: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def options(self, directory: Path) -> dict[str, str]:
        """Return them as urllib3 has them; relative names begin at `directory`."""
        files = {"ca_certs": self.ca, "cert_file": self.client_cert, "key_file": self.client_key}
        return {key: str(directory / name) for key, name in files.items() if name}


class Circuit:
    """Stops calls for a while after failures in a row; then one call tries. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def enter(self) -> bool:
        """Return whether a call may be made now."""
        with self._lock:
            now = self._clock()
            if self._failures < FAILURES_MAX:
                return True
            if now < self._open_until:
                return False
            self._open_until = now + OPEN_SECONDS  # others wait for the outcome of this one
            return True

    def leave(self, *, well: bool) -> None:
        """Note the outcome of a call."""
        with self._lock:
            self._failures = 0 if well else self._failures + 1
            if self._failures >= FAILURES_MAX:
                self._open_until = self._clock() + OPEN_SECONDS


class JsonPost:
    """One service as one process calls it; made after the fork. Safe for threads."""

    def __init__(
        self, url: str, seconds: float, *, certificates: Mapping[str, str], at_once: int
    ) -> None:
        """Take the URL, the longest time of a call, and the most calls at the same time."""
        self._url = url
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(at_once)
        files: dict[str, Any] = {**certificates}
        self._pool = urllib3.PoolManager(maxsize=at_once, retries=False, **files)

    def send(self, body: bytes, headers: Mapping[str, str], answer_bytes: int = 0) -> PostAnswer:
        """Return the answer; its body is read where the status is 200 and `answer_bytes` are given.

        The call has a thread of its own: a time-out of sockets starts again with every byte.

        Raises:
            NoAnswer: there is none in time, or its body has more than `answer_bytes`.
        """
        if not self._free.acquire(blocking=False):
            raise NoAnswer("too many calls are under way")
        outcome: list[PostAnswer | NoAnswer] = []
        done = threading.Event()

        def run() -> None:
            try:
                outcome.append(self._call(body, headers, answer_bytes))
            except NoAnswer as error:
                outcome.append(error)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                outcome.append(NoAnswer(f"it does not answer ({type(error).__name__})"))
            finally:
                self._free.release()
                done.set()

        threading.Thread(target=run, daemon=True).start()
        done.wait(self._seconds)
        if not outcome:
            raise NoAnswer("it did not answer in time")
        if isinstance(outcome[0], NoAnswer):
            raise outcome[0]
        return outcome[0]

    def _call(self, body: bytes, headers: Mapping[str, str], answer_bytes: int) -> PostAnswer:
        response = self._pool.request(
            "POST",
            self._url,
            body=body,
            headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(total=self._seconds),
        )
        with closing(response):  # a connection with the rest of an answer serves no other call
            if response.status != _OK or not answer_bytes:
                return PostAnswer(response.status, b"")
            data: bytes = response.read(answer_bytes + 1)
            if len(data) > answer_bytes:
                raise NoAnswer("its answer is too long")
            response.release_conn()
        return PostAnswer(response.status, data)
