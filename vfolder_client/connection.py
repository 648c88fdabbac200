"""Requests to a door: the credential, redirects to other nodes, repetition, problems.

A request is repeated where it is idempotent and the failure passes: the door does not answer, or
its problem says `retriable`. `Retry-After` is honoured. A request that may have had an effect is
never repeated by itself.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from vfolder_client.documents import is_private
from vfolder_client.errors import ClientError, NotADoor, NotConnected, problem_of

VERSION = "0.1.0"
#: How long a door may take to accept a connection, and then between two bytes (seconds).
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 120.0
#: How long a failing request is repeated (seconds), unless the caller says otherwise.
PATIENCE_SECONDS = 60.0
#: The first and the longest pause between two tries (seconds).
PAUSE_FIRST_SECONDS, PAUSE_MAX_SECONDS = 0.5, 15.0
#: Bytes that are read from a file and written to a socket at once.
BLOCK_BYTES = 1024 * 1024
#: Idle connections that are kept for each node.
CONNECTIONS_MAX = 64
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REDIRECTS = frozenset({307, 308})
_REDIRECTS_MAX = 5
_NOT_MODIFIED = 304
#: Statuses of a proxy whose service is away; its page is no problem document.
_AWAY = frozenset({502, 503, 504})
#: What requests raises while a connection breaks.
BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)

Body = Callable[[], Any]


class _Bearer(AuthBase):
    """Sends the key; without it requests would take another credential from ~/.netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _Adapter(HTTPAdapter):
    """Connections that send large blocks: urllib3 reads 16 KiB of a body at once otherwise."""

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - as requests calls it
        **options: Any,  # noqa: ANN401 - as above
    ) -> None:
        options.setdefault("blocksize", BLOCK_BYTES)
        super().init_poolmanager(connections, maxsize, block, **options)


class Patience:
    """How long and how often one call is repeated: pauses double, with a random part.

    `progress` starts again, because a transfer that moves is not stuck.
    """

    def __init__(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
        self._seconds = seconds
        self._sleep = sleep
        self.progress()

    def progress(self) -> None:
        """Begin again: something was achieved."""
        self._ends = time.monotonic() + self._seconds
        self._pause = PAUSE_FIRST_SECONDS

    def wait(self, failure: ClientError) -> None:
        """Pause before the next try.

        Raises:
            ClientError: the failure itself, where it does not pass or the patience is over.
        """
        wanted = getattr(failure, "retry_after", None)
        pause = self._pause * random.uniform(0.5, 1.0) if wanted is None else wanted  # noqa: S311 - no secret
        if not failure.retriable or time.monotonic() + pause > self._ends:
            raise failure
        self._pause = min(self._pause * 2, PAUSE_MAX_SECONDS)
        self._sleep(pause)


class Connection:
    """A door, as one caller with one credential reaches it; any number of threads may use it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        ca: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._ca = ca
        self.patience_seconds = patience_seconds
        #: The session, and the process that made it.
        self._opened: tuple[int, requests.Session | None] = (0, None)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        with self._lock:
            process, session = self._opened
            self._opened = 0, None
        if session is not None and process == os.getpid():
            session.close()

    def patience(self) -> Patience:
        """Return the patience of one call."""
        return Patience(self.patience_seconds)

    # -- One request -------------------------------------------------------------------------------
    def once(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        stream: bool = False,
        **options: Any,  # noqa: ANN401 - as requests takes them
    ) -> requests.Response:
        """Send one request and return its answer of success, or 304.

        `path` may be a complete URL. `body` gives the body, again for each node that is named.

        Raises:
            NotConnected: the door does not answer.
            NotADoor: another server answers, or its certificate is not trusted.
            Problem: the door refuses.
        """
        url = path if "://" in path else self.url + path
        try:
            response = self._followed(method, url, body, stream=stream, **options)
            if response.ok:
                return response
            raise _failure_of(response)
        except requests.exceptions.SSLError as error:
            text = f"The certificate of {self.url} is not trusted: {error}"
            raise NotADoor(f"{text}. Name the file of its authority.") from error
        except BROKEN as error:
            raise NotConnected(f"{self.url} does not answer.") from error
        except requests.RequestException as error:
            raise NotADoor(f"{self.url} cannot be used: {error}") from error

    def _followed(
        self,
        method: str,
        url: str,
        body: Body | None,
        **options: Any,  # noqa: ANN401 - as above
    ) -> requests.Response:
        """Send a request, and again to the node that the door names (307, 308).

        The credential goes along: it is one service, and the door that names the node has it.
        It never leaves encryption, or this machine, for plain http.
        """
        options.setdefault("timeout", (CONNECT_SECONDS, ANSWER_SECONDS))
        for _ in range(_REDIRECTS_MAX):
            given = options if body is None else {**options, "data": body()}
            response = self._session().request(method, url, allow_redirects=False, **given)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            if is_private(url) and not is_private(target):
                raise NotADoor(f"{self.url} sends callers to an address without encryption.")
            url = target
        raise NotADoor(f"{self.url} sends callers from node to node without an end.")

    def _session(self) -> requests.Session:
        """Return the session of this process; a forked one must not use the sockets of its parent.

        Threads share it: its pool of connections is made for that, and it takes no cookies.
        """
        with self._lock:
            process, found = self._opened
            if found is None or process != os.getpid():
                found = requests.Session()
                found.auth = _Bearer(self._key)
                found.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                found.headers["User-Agent"] = f"vfolder-client/{VERSION}"
                if self._ca:
                    found.verify = self._ca
                for scheme in ("http://", "https://"):
                    found.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS_MAX))
                self._opened = os.getpid(), found
            return found

    # -- Repeated ----------------------------------------------------------------------------------
    def send(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        **options: Any,  # noqa: ANN401 - as requests takes them
    ) -> requests.Response:
        """Send a request, again while a failure passes and the request is idempotent.

        `repeatable` says so where the method does not: GET and HEAD are, and requests with an
        `Idempotency-Key`.

        Raises:
            ClientError: as `once`; the last failure.
        """
        if repeatable is None:
            headers: Mapping[str, str] = options.get("headers") or {}
            repeatable = method in _SAFE or "Idempotency-Key" in headers
        patience = self.patience()
        while True:
            try:
                return self.once(method, path, **options)
            except ClientError as failure:
                if not repeatable:
                    raise
                patience.wait(failure)

    def json(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Send a request as `send` does, and return the JSON of its answer; None without a body."""
        response = self.send(method, path, **options)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise NotADoor(f"{self.url} is no door of this service: it answers no JSON.") from None


def is_unchanged(response: requests.Response) -> bool:
    """Return whether the answer is 304."""
    return response.status_code == _NOT_MODIFIED


def _failure_of(response: requests.Response) -> ClientError:
    """Return what an answer that is no success means; its body is read."""
    status, delay = response.status_code, _retry_after(response)
    with response:
        try:
            members = response.json()
        except BROKEN as error:
            raise NotConnected("The connection broke within an answer.") from error
        except ValueError:
            members = None
    if isinstance(members, dict) and "error_code" in members:
        return problem_of(status, members, delay)
    if response.request.method == "HEAD":
        return problem_of(status, {"detail": f"The door answers {status}."}, delay)
    if status in _AWAY:
        return problem_of(status, {"detail": "The service is away.", "retriable": True}, delay)
    return NotADoor(f"What answers at {response.url} is no door of this service ({status}).")


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def chunks_of(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of a streamed answer.

    Raises:
        NotConnected: the connection breaks.
    """
    try:
        yield from response.iter_content(BLOCK_BYTES)
    except BROKEN as error:
        raise NotConnected("The connection broke within an answer.") from error
