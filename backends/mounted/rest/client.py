"""Requests to an array, retried until the deadline wherever a retry is safe."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import orjson
import requests
import tenacity
from urllib3.exceptions import HTTPError

from backends.mounted.rest import deadline
from backends.mounted.rest.answers import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    Busy,
    Dialect,
    Expired,
    Lost,
    Reason,
    judge,
    read,
)
from backends.mounted.rest.sessions import ArrayEndpoint, Login, Sessions
from core.errors import AccessRefused, BackendFailed
from core.telemetry import logger

#: Replaces a secret in a text.
MASK = "***"
CONNECT_SECONDS = 5.0
#: An answer that is incomplete after this time is lost (seconds).
ANSWER_SECONDS = 30.0
#: Longer answers are treated as lost (bytes).
ANSWER_BYTES_MAX = 64 << 20
_CHUNK_BYTES = 1 << 16
#: Pauses between tries: random up to the first value, then up to twice as much each time.
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
#: More renewals for one request mean that the array revokes every login.
RENEWALS_MAX = 2

#: What OpenSSL says when the other side refuses our certificate (RFC 8446 section 6.2).
_REFUSED_CERTIFICATE = re.compile("ALERT_(BAD_|UNSUPPORTED_)?(CERTIFICATE|UNKNOWN_CA)")
_log = logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArrayRequest:
    """One request; the path may be a link from the array that has a query already."""

    method: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Any = None
    headers: Mapping[str, str] | None = None
    #: A body in the form of web pages (application/x-www-form-urlencoded), in place of JSON.
    form: Mapping[str, str] | None = None
    #: A success has a text, which may be empty, in place of JSON.
    plain: bool = False
    #: The required type of a successful body (msgspec); another one counts as no answer.
    shape: Any = Any


class Client:
    """The REST interface of one array; safe for several threads, and after a fork.

    `secrets` never leave it: they are masked in every text of the array.
    """

    def __init__(
        self,
        target: ArrayEndpoint,
        sign_in: Callable[["Client"], Mapping[str, str]],
        dialect: Dialect,
        *,
        secrets: tuple[str, ...] = (),
        answer_seconds: float = ANSWER_SECONDS,
        check: ArrayRequest | None = None,
    ) -> None:
        """Make a client; it connects with its first request.

        `check` is a request that every login may send. It tells a missing right from an expired
        login, on an array that answers 403 to both.
        """
        self._sessions = Sessions(target, lambda: sign_in(self))
        self._dialect = dialect
        self._secrets = secrets
        self._answer_seconds = answer_seconds
        self._check = check
        self._turn = 0

    def get(self, path: str, shape: type[T], /, **query: Any) -> T:  # noqa: ANN401 - JSON values
        """Return the body of the answer, as the required type.

        Raises:
            ArrayRefused: the array refused.
            Busy, Lost: there was no usable answer until the deadline.
        """
        body: T = self.send(ArrayRequest("GET", path, query, shape=shape)).body
        return body

    def send(self, request: ArrayRequest) -> ArrayAnswer:
        """Send a request that may be repeated until there is an answer.

        That is GET, PUT, PATCH to a value, and DELETE.

        Raises:
            As `get`.
        """
        return _again(lambda: self._with_login(request))

    def find(self, path: str, shape: type[T], /, **query: Any) -> T | None:  # noqa: ANN401 - JSON values
        """Return the same as `get`; None when the array does not have it.

        Raises:
            As `get`.
        """
        try:
            return self.get(path, shape, **query)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None

    def remove(self, path: str, shape: Any = Any) -> ArrayAnswer | None:  # noqa: ANN401 - a type at run time
        """Send a DELETE; None when the array does not have it, which is fine.

        Raises:
            As `get`.
        """
        try:
            return self.send(ArrayRequest("DELETE", path, shape=shape))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None

    def create(self, request: ArrayRequest, look: Callable[[], T | None]) -> ArrayAnswer | T:
        """Send a request that creates something; after a lost answer call `look` before a retry.

        `look` returns the existing object, or None; then the request is sent again.

        Raises:
            As `get`.
        """
        lost = False

        def attempt() -> ArrayAnswer | T:
            nonlocal lost
            if lost and (found := look()) is not None:
                return found
            try:
                return self._with_login(request)
            except Lost:
                lost = True
                raise

        return _again(attempt)

    def close(self) -> Login | None:
        """Close the connections; return the login that the caller must end."""
        return self._sessions.close()

    def exchange(self, request: ArrayRequest) -> ArrayAnswer:
        """Send once, without a login; for the login requests themselves.

        Raises:
            Expired, ArrayRefused, Busy, Lost.
        """
        answer = judge(self._clean(self._talk(request)), self._dialect)
        try:
            body = msgspec.convert(answer.body, request.shape)
        except msgspec.ValidationError as error:
            raise Lost(f"The array's answer has another shape: {error}.") from None
        return ArrayAnswer(answer.status, answer.headers, body)

    def present(self, request: ArrayRequest, refusal: str) -> ArrayAnswer:
        """Send credentials once; `refusal` is the text for those that are refused.

        Raises:
            ArrayRefused: the array does not accept the credentials.
            Busy, Lost: as `exchange`.
        """
        try:
            return self.exchange(request)
        except Expired:
            raise ArrayRefused(refusal, Reason.DENIED) from None

    def _with_login(self, request: ArrayRequest) -> ArrayAnswer:
        login = self._sessions.login()
        for _ in range(RENEWALS_MAX):
            try:
                return self.exchange(_signed(request, login))
            except Expired as expired:
                self._refuse_if_valid(login, request, expired)
                login = self._sessions.renew(login.number)
        try:
            return self.exchange(_signed(request, login))
        except Expired:
            raise ArrayRefused("The array takes back every login.", Reason.DENIED) from None

    def _refuse_if_valid(self, login: Login, request: ArrayRequest, expired: Expired) -> None:
        """Raise for a request that lacks a right, when the array still accepts the login.

        Raises:
            ArrayRefused: the user of the login has no right for this request.
        """
        if self._check is None or expired.status != HTTPStatus.FORBIDDEN:
            return
        try:
            self.exchange(_signed(self._check, login))
        except Expired:
            return
        path = request.path.partition("?")[0]
        raise ArrayRefused(
            f"The array's user has no right for {request.method} {path}.", Reason.DENIED
        )

    def _talk(self, request: ArrayRequest) -> ArrayAnswer:
        endpoints = self._sessions.target.endpoints
        turn = self._turn
        began = monotonic()
        try:
            with self._sessions.session() as session:
                answer = self._read(session, f"{endpoints[turn % len(endpoints)]}", request)
        except Lost:
            self._turn = turn + 1
            raise
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._turn = turn + 1
        _log.debug(
            "array answered",
            method=request.method,
            path=request.path.partition("?")[0],
            status=answer.status,
            seconds=round(monotonic() - began, 3),
        )
        return answer

    def _read(self, session: requests.Session, endpoint: str, request: ArrayRequest) -> ArrayAnswer:
        seconds = min(deadline.left(), self._answer_seconds)
        kind, body = _encoded(request)
        headers = {"Accept": "application/json", **(request.headers or {})}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            bare = requests.Request(request.method, endpoint, headers=headers, data=body)
            prepared = session.prepare_request(bare)
            prepared.url = (
                endpoint + request.path + _spelled(request.query)
            )  # keep the escapes of the path
            with session.send(
                prepared,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                verify=session.verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _whole(response, monotonic() + seconds)
                return read(response.status_code, response.headers, content, plain=request.plain)
        except requests.exceptions.SSLError as error:
            raise _distrust(error) from None
        except (requests.RequestException, HTTPError, OSError) as error:
            raise Lost(f"The array did not answer ({type(error).__name__}).") from None

    def _clean(self, answer: ArrayAnswer) -> ArrayAnswer:
        """Mask the secrets in an array's refusal."""
        if answer.status < HTTPStatus.BAD_REQUEST or answer.body is None:
            return answer
        text = orjson.dumps(answer.body).decode()
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return ArrayAnswer(answer.status, answer.headers, orjson.loads(text))


def _again(attempt: Callable[[], T]) -> T:
    """Retry until there is an answer, or the next try would begin after the deadline."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((Busy, Lost)),
        wait=_pause,
        stop=lambda state: state.upcoming_sleep >= deadline.left(),
        reraise=True,
    )
    return retrying(attempt)


def _pause(state: tenacity.RetryCallState) -> float:
    random = tenacity.wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)(state)
    problem = state.outcome and state.outcome.exception()
    asked = problem.pause_seconds if isinstance(problem, Busy | Lost) else None
    return random if asked is None else asked + min(random, FIRST_PAUSE_SECONDS)


def _signed(request: ArrayRequest, login: Login) -> ArrayRequest:
    return replace(request, headers={**(request.headers or {}), **login.headers})


def _encoded(request: ArrayRequest) -> tuple[str, bytes | None]:
    """Return the content type and the bytes of the body; None without a body."""
    if request.form is not None:
        return "application/x-www-form-urlencoded", urlencode(request.form).encode()
    return "application/json", None if request.body is None else orjson.dumps(request.body)


def _spelled(query: Mapping[str, Any] | None) -> str:
    """Return the query string: booleans in lower case, without the values that are None."""
    words = {True: "true", False: "false"}
    named = {
        name: words[value] if isinstance(value, bool) else value
        for name, value in (query or {}).items()
        if value is not None
    }
    return f"?{urlencode(named, quote_via=quote)}" if named else ""


def _whole(response: requests.Response, end: float) -> bytes:
    """Return the body within the deadline.

    A timeout of `requests` limits each piece only, so the total is limited here.

    Raises:
        Lost: the body is incomplete in time, too long, or shorter than its length header.
    """
    content = bytearray()
    while piece := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        content += piece
        if monotonic() > end or len(content) > ANSWER_BYTES_MAX:
            raise Lost("The array's answer takes too long.")
    promised = response.headers.get("Content-Length")
    encoded = response.headers.get("Content-Encoding")
    if promised and not encoded and promised != str(len(content)):
        raise Lost("The array's answer was cut short.")
    return bytes(content)


def _distrust(error: requests.exceptions.SSLError) -> BackendFailed | Lost:
    """Raise for a certificate that one side refuses, which stays so; else it may recover."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return BackendFailed(
            "The array's certificate is not trusted; name the authority that signed it.",
        )
    if _REFUSED_CERTIFICATE.search(str(error)):
        return AccessRefused(
            "The array does not accept the certificate of this client, or wants one."
        )
    return Lost("The secure connection to the array broke.")


def unknown(answer: ArrayAnswer) -> ArrayRefusal:
    """Return a refusal for an error that the vendor's dialect does not know, by its status."""
    by_status: dict[int, Reason] = {
        HTTPStatus.BAD_REQUEST: Reason.INVALID,
        HTTPStatus.UNAUTHORIZED: Reason.DENIED,
        HTTPStatus.FORBIDDEN: Reason.DENIED,
        HTTPStatus.NOT_FOUND: Reason.NOT_FOUND,
        HTTPStatus.CONFLICT: Reason.EXISTS,
        HTTPStatus.TOO_MANY_REQUESTS: Reason.BUSY,
    }
    words = answer.body if isinstance(answer.body, str) else ""
    return ArrayRefusal(by_status.get(answer.status, Reason.FAILED), "", words)
