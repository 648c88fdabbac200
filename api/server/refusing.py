"""The answer to what is no request: gunicorn's exceptions as problem documents."""

import re
import ssl
from http import HTTPStatus
from typing import NamedTuple

from flask import Flask
from gunicorn.http import errors

from api.http import problems
from api.server.heads import SlowHead

#: An answer that a caller does not take within this time (seconds) is dropped.
SEND_SECONDS = 1.0


class Refusal(NamedTuple):
    """A status, and one sentence with a remedy."""

    status: int
    detail: str


DEFECT = Refusal(500, "The service failed unexpectedly; its log has the cause.")
_NO_TLS = Refusal(400, "The door speaks HTTPS: the connection is not secured as it needs.")
_MALFORMED = Refusal(400, "The request is no valid HTTP/1.1 (RFC 9112).")
#: What each exception is answered with. Their texts may hold a ticket, so they are not passed on.
REFUSED: dict[type[BaseException], Refusal] = {
    SlowHead: Refusal(408, "The head of the request did not arrive in time."),
    errors.NoMoreData: Refusal(400, "The connection ended before the head of the request did."),
    errors.InvalidRequestLine: Refusal(400, "The request line is malformed."),
    errors.InvalidRequestMethod: Refusal(400, "The method of the request is no token."),
    errors.InvalidHTTPVersion: Refusal(400, "The door speaks HTTP/1.1 and HTTP/1.0."),
    errors.InvalidHeader: Refusal(400, "A header of the request is malformed."),
    errors.InvalidHeaderName: Refusal(400, "The name of a header is malformed."),
    errors.ObsoleteFolding: Refusal(400, "A header is folded over several lines."),
    errors.LimitRequestLine: Refusal(414, "The request line is longer than 8190 bytes."),
    errors.ExpectationFailed: Refusal(417, "The only expectation is 100-continue."),
    errors.LimitRequestHeaders: Refusal(
        431, "The headers have more than 64 KiB together, or are more than 100."
    ),
    errors.UnsupportedTransferCoding: Refusal(501, "The only transfer coding is chunked."),
}
_FIRST_LINE = re.compile(rb"\r?\n?([A-Z]{1,20}) (/[^ ?#\r\n]*)")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([\x21-\x7e]{1,300})[ \t]*\r\n", re.IGNORECASE)


def refusal_of(error: BaseException) -> Refusal:
    """Return the answer to an exception; `DEFECT` where the caller did nothing wrong."""
    if isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        return DEFECT
    if (known := REFUSED.get(type(error))) is not None:
        return known
    if isinstance(error, ssl.SSLError):
        return _NO_TLS
    return _MALFORMED if isinstance(error, errors.ParseException) else DEFECT


def answer(app: Flask, refusal: Refusal, head: bytes, reason: str) -> bytes:
    """Return the bytes of the answer; the connection must end after them.

    A page of another origin can read it where it could read the answer of the route.
    """
    environ = {}
    if first := _FIRST_LINE.match(head):
        environ["REQUEST_METHOD"] = first[1].decode("ascii")
        environ["PATH_INFO"] = first[2].decode("latin-1")
    if origin := _ORIGIN.search(head):
        environ["HTTP_ORIGIN"] = origin[1].decode("ascii")
    response = problems.refuse(app, refusal.status, refusal.detail, environ, reason)
    headers = [*response.headers.to_wsgi_list(), ("Connection", "close")]
    first_line = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"
    lines = [first_line, *(f"{name}: {value}" for name, value in headers), "", ""]
    body = b"" if environ.get("REQUEST_METHOD") == "HEAD" else response.get_data()
    return "\r\n".join(lines).encode("latin-1") + body
