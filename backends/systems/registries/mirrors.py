"""A registry and its mirrors: each call goes to the first of them that answers."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from backends.systems.registries.session import LIST_SECONDS, Query, RemoteFile, RemoteSession
from core.errors import ModelNotFound, RegistryRefused, RegistryUnavailable, StorageError
from core.telemetry import logger

#: A server that failed is asked last for this long (seconds).
REST_SECONDS = 60.0
_log = logger(__name__)
T = TypeVar("T")


class MirroredSession:
    """The connections to an endpoint and its mirrors; safe for several threads.

    A mirror is asked while the endpoint fails. What a mirror refuses or lacks says nothing of the
    endpoint, so the error is then that of the endpoint.
    """

    def __init__(self, endpoint: RemoteSession, mirrors: list[RemoteSession]) -> None:
        self._endpoint = endpoint
        self._sessions = [endpoint, *mirrors]
        #: Until when each server is asked last (seconds of the monotonic clock).
        self._resting: dict[str, float] = {}

    def json(self, path: str, query: Query | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """Return the JSON that a path answers.

        Raises:
            RegistryUnavailable, RegistryRefused, ModelNotFound.
        """
        return self._first(lambda session: session.json(path, query))

    def pages(self, path: str, query: Query, *, seconds: float = LIST_SECONDS) -> Iterator[Any]:
        """Yield the JSON of each page, all of one server.

        Raises:
            RegistryUnavailable: no server answers, or the pages do not end in time.
        """

        def begun(session: RemoteSession) -> tuple[Any, Iterator[Any]]:
            rest = session.pages(path, query, seconds=seconds)
            return next(rest), rest

        page, rest = self._first(begun)
        yield page
        yield from rest

    def content(self, path: str, most: int) -> bytes:
        """Return the first bytes of a small file, `most` of them."""
        return self._first(lambda session: session.content(path, most))

    def open(self, path: str, start: int = 0) -> RemoteFile:
        """Open a file at a position."""
        return self._first(lambda session: session.open(path, start))

    def _first(self, call: Callable[[RemoteSession], T]) -> T:
        """Return what a call returns from the first server that answers.

        Raises:
            StorageError: the error of the endpoint.
        """
        away: StorageError | None = None
        for session in self._in_order():
            try:
                return call(session)
            except RegistryUnavailable as error:
                self._resting[session.endpoint] = time.monotonic() + REST_SECONDS
                away = error if away is None or session is self._endpoint else away
                _log.warning("registry away", endpoint=session.endpoint, reason=error.detail)
            except (ModelNotFound, RegistryRefused):
                if session is self._endpoint:
                    raise
        assert away is not None  # noqa: S101 - the endpoint is one of the servers
        raise away

    def _in_order(self) -> list[RemoteSession]:
        """Return the servers: those that failed last at the end."""
        now = time.monotonic()
        return sorted(self._sessions, key=lambda one: self._resting.get(one.endpoint, 0.0) > now)
