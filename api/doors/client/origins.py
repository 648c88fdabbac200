"""What browsers of other origins may do (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol).

`/upload` is open to every origin without credentials, on refusals too, so that a page can tell a
lost offset from a lost network. The other routes answer the origin that asks.
"""

from flask import Response, request

from api.doors.client import tus
from api.doors.client.routes import blueprint
from core.errors import Forbidden

_UPLOAD = "/upload"
_TUS_HEADERS = ", ".join(tus.HEADERS)
#: Headers every page may read without being told (the CORS-safelisted ones).
_SAFELISTED = frozenset(
    {"cache-control", "content-language", "content-length", "content-type", "expires"}
    | {"last-modified", "pragma"}
)


@blueprint.route("/", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/download-archive", methods=["OPTIONS"], provide_automatic_options=False)
def preflight() -> Response:
    """Answer what a browser asks before it lets a page read from here."""
    if not request.headers.get("Origin"):
        raise Forbidden("A preflight needs the Origin it asks for.")
    headers = {"Access-Control-Allow-Methods": "GET, HEAD"}
    if wanted := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = wanted
    return Response(headers=headers)


@blueprint.after_app_request
def allow_origin(response: Response) -> Response:
    """Add what lets a page of another origin read the answer."""
    if request.path == _UPLOAD or request.path.startswith(f"{_UPLOAD}/"):
        return _open_to_all(response)
    origin = request.headers.get("Origin")
    if origin:
        exposed = [name for name, _ in response.headers if name.lower() not in _SAFELISTED]
        response.headers["Access-Control-Expose-Headers"] = ", ".join(dict.fromkeys(exposed))
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers.add("Vary", "Origin")
    return response


def _open_to_all(response: Response) -> Response:
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = "*"
    headers["Access-Control-Allow-Methods"] = "*"
    headers["Access-Control-Allow-Headers"] = _TUS_HEADERS
    headers["Access-Control-Expose-Headers"] = _TUS_HEADERS
    headers["Tus-Resumable"] = tus.VERSION
    if response.status_code == 412:  # noqa: PLR2004 - the number is the name
        headers["Tus-Version"] = tus.VERSION
    return response
