"""What the client door answers beside downloads and uploads: status, other origins, the page.

Other origins (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol): with `[vfolder.doors]
origins` only the pages of those may read answers. Without it, pages of every origin may, but only
at the routes where a ticket is the one credential. There a browser adds nothing that a page does
not have itself. Refusals have the headers too: a page can tell a lost offset from a lost network.
People's routes answer pages of `[vfolder.access] origins` alone, which may use the API.

The page: `/page?token=…` uploads files and folders, or downloads, in a browser. It is built with
the console, but needs neither people nor their routes. All its files come from here, so it works
without any other network. It knows only what the ticket says; the routes check the ticket again.
"""

from collections.abc import Container
from http import HTTPStatus

from flask import Blueprint, Response, request

from api.doors.client import tus
from api.doors.console import built_file, ticket_page
from api.http import RequestContext, answer, this_request
from api.routes import current_door
from api.volumes import COMPONENT
from core.errors import Forbidden
from core.process.version import VERSION

blueprint = Blueprint("client", __name__)

_UPLOAD = "/upload"
#: Where people's routes and those of visitors begin.
_PEOPLE = ("/v1/", "/s/")
#: What pages of `[vfolder.access] origins` may send to people's routes.
_PEOPLE_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_PEOPLE_HEADERS = ", ".join(
    (
        *(
            "Authorization",
            "X-VFolder",
            "X-Link-Password",
            "X-Request-ID",
            "Idempotency-Key",
            "Prefer",
        ),
        *("If-Match", "If-None-Match", "If-Range", "Range", "Last-Event-ID"),
        *tus.HEADERS,
    )
)
#: Routes where a ticket in the URL is the one credential, or where none is needed.
_TICKET_ROUTES = frozenset({"/", "/download", "/download-archive"})
_TUS_HEADERS = ", ".join(tus.HEADERS)
_EVERY = "*"
#: Headers that every page may read without permission (the CORS-safelisted ones).
_SAFELISTED = frozenset(
    {"cache-control", "content-language", "content-length", "content-type", "expires"}
    | {"last-modified", "pragma"}
)
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": f"{_PAGE_POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@blueprint.get("/", provide_automatic_options=False)
def status() -> Response:
    """Say that the door is open."""
    return answer({"status": "ok", "type": "client-facing", "storage-proxy": VERSION})


@blueprint.get("/version")
def version() -> Response:
    """Return the version of this service."""
    return answer({"component": COMPONENT, "version": VERSION})


@blueprint.route("/", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download-archive", methods=["OPTIONS"], provide_automatic_options=False)
def preflight() -> Response:
    """Answer what a browser asks before it lets a page read from here; the hook adds the origin."""
    if not request.headers.get("Origin"):
        raise Forbidden("A preflight needs the header Origin.")
    headers = {"Access-Control-Allow-Methods": "GET, HEAD"}
    if names := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = names
    return Response(headers=headers)


@blueprint.after_app_request
def allow_origin(response: Response) -> Response:
    """Add the headers with which a page of another origin may read the response.

    What people get is kept by no cache, refusals too, unless a route says otherwise.
    """
    request = this_request()
    access = current_door().settings.vfolder.access
    if access is not None and request.path.startswith(_PEOPLE):
        response.headers.setdefault("Cache-Control", "no-store")
        _let_people_read(request, response, access.origins)
        return response
    uploads = request.path == _UPLOAD or request.path.startswith(f"{_UPLOAD}/")
    if uploads:
        _speak_tus(response)
    allowed = _allowed_origin(request, uploads=uploads)
    if allowed:
        _let_read(response, allowed, uploads=uploads)
    if not (uploads and allowed == _EVERY):
        response.headers.add("Vary", "Origin")
    return response


def _let_people_read(request: RequestContext, response: Response, origins: Container[str]) -> None:
    """Let pages of these origins use the routes for people."""
    origin = request.environ.get("HTTP_ORIGIN")
    if origin is not None and origin in origins:
        _let_read(response, origin, uploads=False)
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = _PEOPLE_METHODS
            response.headers["Access-Control-Allow-Headers"] = _PEOPLE_HEADERS
    response.headers.add("Vary", "Origin")


def _allowed_origin(request: RequestContext, *, uploads: bool) -> str | None:
    """Return the origin whose pages may read this response, `*` for every one; None for none."""
    origin = request.environ.get("HTTP_ORIGIN")
    if named := current_door().settings.vfolder.doors.origins:
        return origin if origin in named else None
    if uploads:
        return _EVERY
    if request.path not in _TICKET_ROUTES:
        return None
    # What cannot be read may have an origin behind what was read.
    return origin or (_EVERY if request.unreadable else None)


def _let_read(response: Response, origin: str, *, uploads: bool) -> None:
    """Let pages of an origin read a response; of uploads without the browser's credentials."""
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = origin
    if uploads:
        headers["Access-Control-Allow-Methods"] = "*"
        headers["Access-Control-Allow-Headers"] = _TUS_HEADERS
        headers["Access-Control-Expose-Headers"] = _TUS_HEADERS
    elif origin != _EVERY:
        exposed = [name for name, _ in headers if name.lower() not in _SAFELISTED]
        headers["Access-Control-Expose-Headers"] = ", ".join(dict.fromkeys(exposed))
        headers["Access-Control-Allow-Credentials"] = "true"


def _speak_tus(response: Response) -> None:
    response.headers["Tus-Resumable"] = tus.VERSION
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        response.headers["Tus-Version"] = tus.VERSION


@blueprint.get("/page")
def page() -> Response:
    """Show the page."""
    return ticket_page(_PAGE_HEADERS)


@blueprint.get("/page/<name>")
def page_file(name: str) -> Response:
    """Return a file of the page."""
    return built_file(name, _PAGE_HEADERS)
