"""Every error of every door, in one format: `application/problem+json` (RFC 9457).

Members: `type, title, status, detail, error_code, retriable, request_id`, and `msg` (= detail,
which clients read); then the facts of the error: `errors[]` with JSON pointers, `errno`, `paths`,
`data`, `job_id` … No other module of the doors formats an error. An unexpected exception is logged
under the request id; its text is not part of the answer.
"""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, has_request_context, request
from redis import RedisError
from werkzeug.exceptions import HTTPException

from api.http import json, metrics
from api.http.flask_app import begin_request, this_request
from backends.fs import translate
from core.errors import PROBLEM_TYPE_BASE, Defect, StorageError, Unauthenticated
from core.redis import store_is_away, store_problem
from core.telemetry import logger

CONTENT_TYPE = "application/problem+json"
#: When a client may repeat a retriable request, unless the error says otherwise.
RETRY_AFTER_SECONDS = 2
#: What a caller without a credential, or with a wrong one, is asked for (RFC 6750 §3).
_CHALLENGE = 'Bearer realm="vfolder"'
_INVALID = f'{_CHALLENGE}, error="invalid_token"'

_log = logger(__name__)

#: Errors of the web framework: error code, and one sentence with a remedy.
_FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("api_parsing_bad-request", "The request is malformed."),
    404: ("api_request_not-found", "No such route; /openapi.json lists them all."),
    405: ("api_request_bad-request", "This route has no such method; see the Allow header."),
    406: ("api_request_bad-request", "No media type in the Accept header is available."),
    408: ("api_request_bad-request", "The request did not arrive in time."),
    411: ("api_request_bad-request", "The request needs a Content-Length."),
    412: ("api_request_conflict", "A precondition of the request does not hold."),
    413: ("api_parsing_bad-request", "The body is larger than this route allows."),
    414: ("api_parsing_bad-request", "The request target is too long."),
    417: ("api_parsing_bad-request", "The only expectation is 100-continue."),
    415: ("api_parsing_bad-request", "This route does not take the media type of the body."),
    416: ("api_request_bad-request", "The range is outside of the content."),
    422: ("api_parsing_invalid-parameters", "The body is invalid."),
    428: ("api_request_bad-request", "The request must be conditional (If-Match)."),
    429: ("api_request_unavailable", "Too many requests; try again later."),
    431: ("api_parsing_bad-request", "The request headers are too large."),
    501: ("api_parsing_bad-request", "The only transfer coding is chunked."),
    503: ("api_request_unavailable", "Temporarily unavailable; try again later."),
}
_RETRIABLE = frozenset({408, 429, 503, 504})
#: The WSGI environment of what is no request.
_NO_REQUEST = {
    "REQUEST_METHOD": "",
    "SCRIPT_NAME": "",
    "PATH_INFO": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "wsgi.url_scheme": "http",
}


class RequestCut(StorageError):
    """The connection ended before the body of the request did."""

    error_code = "api_parsing_bad-request"
    kind = "storage/request-cut"
    title = "The body was cut off"
    status = HTTPStatus.BAD_REQUEST
    retriable = True


class RequestSlow(StorageError):
    """The body of the request did not arrive in time."""

    error_code = "api_request_bad-request"
    kind = "storage/request-slow"
    title = "The request is too slow"
    status = HTTPStatus.REQUEST_TIMEOUT
    retriable = True


def install(app: Flask) -> None:
    """Answer every error of the app with a problem document."""
    app.register_error_handler(StorageError, respond)
    app.register_error_handler(HTTPException, respond)
    app.register_error_handler(Exception, respond)


def respond(error: Exception) -> Response:
    """Return the answer to any error."""
    if isinstance(error, HTTPException):
        metrics.set_error(error)
        return _framework_response(error)
    known = _known(error)
    metrics.set_error(known)
    if known.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", error_code=known.error_code, detail=known.detail)
    response = _response(document(known), known.status)
    if known.retriable:
        response.headers["Retry-After"] = str(known.facts.get("retry_after", RETRY_AFTER_SECONDS))
    if isinstance(known, Unauthenticated):
        response.headers["WWW-Authenticate"] = _INVALID if known.invalid else _CHALLENGE
    return response


def refuse(
    app: Flask, status: int, detail: str, environ: dict[str, str], reason: str = ""
) -> Response:
    """Return the answer to what the server cannot read as a request.

    The hooks after a request run: it has an id, is logged and counted, and a page can read it.
    `environ` has what is known of it, by the names of WSGI.
    """
    with app.request_context({**_NO_REQUEST, **environ}):
        begin_request()
        this_request().unreadable = True
        error = HTTPException(detail)
        error.code = status
        metrics.set_error(error)
        _log.warning("request refused", status=status, reason=reason)
        return app.process_response(_framework_response(error, detail))


def document(error: StorageError) -> dict[str, Any]:
    """Return the members of the problem document of an error."""
    return {**error.facts, **error.members(), "msg": error.detail, "request_id": request_id()}


def request_id() -> str | None:
    """Return the id of the current request; None before it has one."""
    return this_request().request_id if has_request_context() else None


def _known(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    if isinstance(error, RedisError):
        if not store_is_away(error):
            _log.error("store failed unexpectedly", exc_info=error)
        return store_problem(error)
    _log.error("request failed unexpectedly", exc_info=error)
    if isinstance(error, OSError):
        return translate(error)
    return Defect("The service failed unexpectedly; its log has the cause under the request id.")


def _framework_response(error: HTTPException, explained: str = "") -> Response:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:  # a redirect
        return Response.force_type(error.get_response(), request.environ)  # type: ignore[return-value] # force_type makes this class
    title = HTTPStatus(error.code).phrase
    code, detail = _FRAMEWORK.get(error.code, ("api_request_internal-error", f"{title}."))
    detail = explained or detail
    members = {
        "type": f"{PROBLEM_TYPE_BASE}storage/http/{error.code}",
        "title": title,
        "status": error.code,
        "detail": detail,
        "msg": detail,
        "error_code": code,
        "retriable": error.code in _RETRIABLE,
        "request_id": request_id(),
    }
    response = _response(members, error.code)
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _response(members: dict[str, Any], status: int) -> Response:
    response = Response(json.dumps(members), status, content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response
