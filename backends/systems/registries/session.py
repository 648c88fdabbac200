"""HTTP to a registry: JSON, pages and files, with retries, and without a secret for other hosts.

A hub sends large files from another host, by a redirect. `requests` removes the authorization
there (RFC 9110 §15.4); a test holds it. Environment variables name proxies, but no secrets: a
`.netrc` is not read.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.exceptions import HTTPError

from core.errors import ModelNotFound, RegistryRefused, RegistryUnavailable, StorageError
from core.process.version import VERSION

#: A connection that is not made in this time counts as failed (seconds).
CONNECT_SECONDS = 10.0
#: A server that sends nothing for this long is given up (seconds).
SILENCE_SECONDS = 30.0
#: Tries of one request, and the pauses between them (seconds).
TRIES = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
#: Connections to one registry that a process keeps.
CONNECTIONS = 16
#: Bytes of one read of a file.
READ_BYTES = 256 * 1024
#: The longest JSON answer that is read (bytes).
JSON_MAX_BYTES = 64 << 20
#: A search or a tree of more pages is given up.
PAGES_MAX = 10_000
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
    ) -> None:
        """Connect to an endpoint, with a token, or with another way to sign requests."""
        self.endpoint = endpoint
        self._auth = auth or _Bearer(token)
        self._timeout = (connect_seconds, silence_seconds)
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=CONNECTIONS)
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

    def pages(self, path: str, query: Query) -> Iterator[Any]:
        """Yield the JSON of each page; `Link` names the next one (RFC 8288).

        Only its query is taken: a mirror may name another host there.
        """
        for _ in range(PAGES_MAX):
            with self._answer(path, query) as response:
                page = _decoded(response)
                following = response.links.get("next", {}).get("url")
            yield page
            if not following:
                return
            query = parse_qsl(urlsplit(following).query, keep_blank_values=True)

    def content(self, path: str, most: int) -> bytes:
        """Return the first bytes of a small file, `most` of them."""
        with self._answer(path) as response, _translated():
            return bytes(response.raw.read(most) or b"")

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
            wait=wait_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
            retry=retry_if_exception_type(RegistryUnavailable),
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
    with _translated():
        text = response.raw.read(JSON_MAX_BYTES + 1, decode_content=True)
    if len(text) > JSON_MAX_BYTES:
        raise RegistryRefused("The registry answers more than can be read.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise RegistryRefused("The registry answers no JSON.") from error


def _refusal(response: requests.Response) -> StorageError:
    """Return the error that a status means. No text of the registry is repeated."""
    status = response.status_code
    if status == HTTPStatus.NOT_FOUND or response.headers.get("X-Error-Code") in _ABSENT_CODES:
        return ModelNotFound("The registry has no such model, revision or file.")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RegistryUnavailable(f"The registry fails for now ({status}).")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return RegistryRefused(f"The registry refuses access ({status}); check the token.")
    return RegistryRefused(f"The registry refuses the request ({status}).")
