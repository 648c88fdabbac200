"""HTTP to a registry: JSON, pages and files, with retries, and without a secret for other hosts.

A hub sends large files from another host, by a redirect. `requests` removes the authorization
there (RFC 9110 §15.4); a test holds it. Environment variables name proxies, but no secrets: a
`.netrc` is not read.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)
from urllib3.exceptions import HTTPError

from core.errors import ModelNotFound, RegistryRefused, RegistryUnavailable, StorageError
from core.process.version import VERSION
from core.settings import CONNECTIONS

#: A connection that is not made in this time counts as failed (seconds).
CONNECT_SECONDS = 10.0
#: A server that sends nothing for this long is given up (seconds).
SILENCE_SECONDS = 30.0
#: Tries of one request, and the pauses between them (seconds).
TRIES = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
#: A registry that is overloaded may say when to call again. A call waits so long at most (seconds).
RETRY_AFTER_MAX_SECONDS = 30
#: Bytes of one read of a file.
READ_BYTES = 256 * 1024
#: The longest JSON answer that is read (bytes).
JSON_MAX_BYTES = 64 << 20
#: An answer that is no file, and all pages of a list, arrive in this time (seconds). The manager
#: gives up after 300 s.
ANSWER_SECONDS, LIST_SECONDS = 60.0, 200.0
#: No file is as long (bytes): offsets of files have 63 bits.
SIZE_END = 1 << 63
_RANGE = re.compile(r"bytes (\d+)-")
_ABSENT_CODES = frozenset({"RepoNotFound", "RevisionNotFound", "EntryNotFound"})
Query = list[tuple[str, str]]
Json = dict[str, str] | None


class _Bearer(AuthBase):
    """Sets the token, and keeps `requests` from looking for another one in a `.netrc`."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to a request."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class RemoteFile:
    """A file that is read from a registry; its bytes come as they are on the wire."""

    def __init__(self, response: requests.Response, start: int) -> None:
        """Take the answer; a server that ignores the range begins at 0."""
        self._response = response
        is_part = response.status_code == HTTPStatus.PARTIAL_CONTENT
        #: Where the bytes begin.
        self.start = start if is_part else 0
        #: Of the file; None when the server sends none.
        self.etag: str | None = response.headers.get("ETag")
        if is_part and not _begins_at(response, start):
            response.close()
            raise RegistryRefused("The registry sends another part of a file.")

    def pieces(self, size: int = READ_BYTES) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            RegistryUnavailable: the connection broke.
        """
        try:
            while piece := self._response.raw.read(size):
                yield piece
        except (HTTPError, OSError) as error:
            name = type(error).__name__
            raise RegistryUnavailable(f"The registry broke off a file ({name}).") from error

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class RemoteSession:
    """The connections to one registry; safe for several threads."""

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        auth: AuthBase | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        connections: int = CONNECTIONS,
    ) -> None:
        """Connect to an endpoint, with a token, or with another way to sign requests.

        At most `connections` are open to one host; further calls wait for one of them.
        """
        self.endpoint = endpoint
        self._auth = auth or _Bearer(token)
        self._timeout = (connect_seconds, silence_seconds)
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=connections, pool_block=True)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # The bytes must be those of the file: no transfer is compressed.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["User-Agent"] = f"vfolder/{VERSION}"

    def json(self, path: str, query: Query | None = None, *, body: Json = None) -> Any:  # noqa: ANN401 - any JSON value
        """Return the JSON that a path answers.

        Raises:
            RegistryUnavailable, RegistryRefused, ModelNotFound.
        """
        with self._answer(path, query, _More(body=body)) as response:
            return _decoded(response)

    def pages(self, path: str, query: Query, *, seconds: float = LIST_SECONDS) -> Iterator[Any]:
        """Yield the JSON of each page; `Link` names the next one (RFC 8288).

        Only its query is taken: a mirror may name another host there.

        Raises:
            RegistryUnavailable: the pages do not end in time.
        """
        until = time.monotonic() + seconds
        while True:
            with self._answer(path, query) as response:
                page = _decoded(response)
                following = response.links.get("next", {}).get("url")
            yield page
            if not following:
                return
            query = _query_of(following)
            if time.monotonic() > until:
                raise RegistryUnavailable("The registry does not end its list in time.")

    def content(self, path: str, most: int) -> bytes:
        """Return the first bytes of a small file, `most` of them."""
        with self._answer(path) as response:
            return _read(response, most)

    def open(
        self, path: str, start: int = 0, *, method: str = "GET", body: Json = None
    ) -> RemoteFile:
        """Open a file at a position; a body makes the request one with JSON."""
        return RemoteFile(self._answer(path, None, _More(method, body, start)), start)

    def _answer(
        self, path: str, query: Query | None = None, more: "_More | None" = None
    ) -> requests.Response:
        tries = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=_pause,
            retry=retry_if_exception(_is_worth_a_try),
            reraise=True,
        )
        return tries(self._send, path, query, more or _More())

    def _send(self, path: str, query: Query | None, more: "_More") -> requests.Response:
        with _translated():
            response = self._session.request(
                more.method,
                self.endpoint + path,
                params=query,
                headers={"Range": f"bytes={more.start}-"} if more.start else {},
                json=more.body,
                auth=self._auth,
                timeout=self._timeout,
                stream=True,
            )
        if response.status_code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return response
        response.close()
        raise _refusal(response)


@dataclass(frozen=True, slots=True)
class _More:
    """What few requests have: another method, a body, a position to begin at."""

    method: str = "GET"
    body: Json = None
    start: int = 0


_growing = wait_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)


def _is_worth_a_try(error: BaseException) -> bool:
    """Return whether a call is repeated at once: not when the registry wants a long pause."""
    return (
        isinstance(error, RegistryUnavailable)
        and error.facts.get("retry_after", 0) <= RETRY_AFTER_MAX_SECONDS
    )


def _pause(state: RetryCallState) -> float:
    """Return the pause before the next try: at least what the registry wants (seconds)."""
    error = state.outcome.exception() if state.outcome else None
    wanted = error.facts.get("retry_after", 0) if isinstance(error, RegistryUnavailable) else 0
    return max(_growing(state), float(wanted))


def as_text(value: object) -> str:
    """Return a text of an answer; raise TypeError where it is none."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def as_size(value: object) -> int:
    """Return the size of a file (bytes); raise ValueError where it can be none."""
    if not isinstance(value, int) or not 0 <= value < SIZE_END:
        raise ValueError("no size")
    return value


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except requests.TooManyRedirects as error:
        raise RegistryRefused("The registry redirects in a circle.") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        name = type(error).__name__
        raise RegistryUnavailable(f"The registry does not answer ({name}).") from error


def _decoded(response: requests.Response) -> Any:  # noqa: ANN401 - any JSON value
    text = _read(response, JSON_MAX_BYTES + 1)
    if len(text) > JSON_MAX_BYTES:
        raise RegistryRefused("The registry answers more than can be read.")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise RegistryRefused("The registry answers no JSON.") from error


def _read(response: requests.Response, most: int) -> bytes:
    """Return the first bytes of an answer, `most` of them; a slow server is given up."""
    until = time.monotonic() + ANSWER_SECONDS
    found = bytearray()
    with _translated():
        while len(found) < most and (
            piece := response.raw.read1(most - len(found), decode_content=True)
        ):
            found += piece
            if time.monotonic() > until:
                raise RegistryUnavailable("The registry is too slow.")
    return bytes(found)


def _query_of(link: str) -> Query:
    try:
        return parse_qsl(urlsplit(link).query, keep_blank_values=True)
    except ValueError as error:
        raise RegistryRefused("The registry names a next page that is no address.") from error


def _begins_at(response: requests.Response, start: int) -> bool:
    """Return whether a part of a file is the one that was asked for (RFC 9110 §14.4)."""
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start


def _refusal(response: requests.Response) -> StorageError:
    """Return the error that a status means. No text of the registry is repeated."""
    status = response.status_code
    if status == HTTPStatus.NOT_FOUND or response.headers.get("X-Error-Code") in _ABSENT_CODES:
        return ModelNotFound("The registry has no such model, revision or file.")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RegistryUnavailable(f"The registry fails for now ({status}).", **_wanted(response))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return RegistryRefused(f"The registry refuses access ({status}); check the token.")
    return RegistryRefused(f"The registry refuses the request ({status}).")


def _wanted(response: requests.Response) -> dict[str, int]:
    """Return the seconds that the registry wants to be left alone, where it says a number."""
    text = response.headers.get("Retry-After", "")  # RFC 9110 §10.2.3; hubs send no dates
    return {"retry_after": int(text)} if text.isascii() and text.isdigit() else {}
