"""What the client door answers beside downloads and uploads: status, other origins, the page.

Other origins (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol): `/upload` is open to every
origin without credentials, refusals too, so that a page can tell a lost offset from a lost network.
The other routes answer the origin that asks.

The page: `/page?token=…` uploads files and folders, or downloads, in a browser. All its files come
from here (tus-js-client too, `api/http/vendored`), so it works without any other network. It knows
only what the ticket says; the routes check the ticket again.
"""

from http import HTTPStatus
from pathlib import Path

from flask import Blueprint, Response, request, send_from_directory
from werkzeug.exceptions import NotFound

from api.doors.client import tus
from api.http import answer, this_request
from core.errors import Forbidden
from core.process.version import VERSION

blueprint = Blueprint("client", __name__)

_UPLOAD = "/upload"
_TUS_HEADERS = ", ".join(tus.HEADERS)
#: Headers that every page may read without permission (the CORS-safelisted ones).
_SAFELISTED = frozenset(
    {"cache-control", "content-language", "content-length", "content-type", "expires"}
    | {"last-modified", "pragma"}
)
_HERE = Path(__file__).parent
#: The files of the page and their directories.
_PAGE_FILES = {
    "page.css": _HERE / "page",
    "page.js": _HERE / "page",
    "tus.min.js": _HERE.parents[1] / "http" / "vendored",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'"
)
#: Browsers ask after this long (seconds) whether a file changed.
_FILE_AGE_SECONDS = 3600


@blueprint.get("/", provide_automatic_options=False)
def status() -> Response:
    """Say that the door is open."""
    return answer({"status": "ok", "type": "client-facing", "storage-proxy": VERSION})


@blueprint.route("/", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download-archive", methods=["OPTIONS"], provide_automatic_options=False)
def preflight() -> Response:
    """Answer what a browser asks before it lets a page read from here."""
    if not request.headers.get("Origin"):
        raise Forbidden("A preflight needs the header Origin.")
    headers = {"Access-Control-Allow-Methods": "GET, HEAD"}
    if names := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = names
    return Response(headers=headers)


@blueprint.after_app_request
def allow_origin(response: Response) -> Response:
    """Add the headers with which a page of another origin may read the response."""
    if request.path == _UPLOAD or request.path.startswith(f"{_UPLOAD}/"):
        return _open_to_all(response)
    origin = request.headers.get("Origin")
    if origin:
        exposed = [name for name, _ in response.headers if name.lower() not in _SAFELISTED]
        response.headers["Access-Control-Expose-Headers"] = ", ".join(dict.fromkeys(exposed))
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    elif this_request().unreadable:  # it may have an origin behind what was read
        response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers.add("Vary", "Origin")
    return response


def _open_to_all(response: Response) -> Response:
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = "*"
    headers["Access-Control-Allow-Methods"] = "*"
    headers["Access-Control-Allow-Headers"] = _TUS_HEADERS
    headers["Access-Control-Expose-Headers"] = _TUS_HEADERS
    headers["Tus-Resumable"] = tus.VERSION
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        headers["Tus-Version"] = tus.VERSION
    return response


@blueprint.get("/page")
def page() -> Response:
    """Show the page."""
    return _guarded(send_from_directory(_HERE / "page", "page.html", max_age=0))


@blueprint.get("/page/<name>")
def page_file(name: str) -> Response:
    """Return a file of the page."""
    if name not in _PAGE_FILES:
        raise NotFound
    return _guarded(send_from_directory(_PAGE_FILES[name], name, max_age=_FILE_AGE_SECONDS))


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = f"{_PAGE_POLICY}; frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
