"""Routes of the console's files. The files of `dist/` are read once per process, and kept packed.

The page for a ticket is built with the console; the client door serves it at an address of its own.
Every address below `/console` is the same page, which shows what the address names. Files below
`/console/assets` have a digest in their names, so browsers keep them for good (RFC 8246).
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

blueprint = Blueprint("console", __name__)

_DIST = Path(__file__).parent / "dist"
_PAGE = "index.html"
_TICKET_PAGE = "ticket.html"
_PAGES = frozenset({_PAGE, _TICKET_PAGE})
_GZIP_LEVEL = 9
_DIGEST_LENGTH = 32
_KEPT = "public, max-age=31536000, immutable"
_ASKED_AGAIN = "no-cache"
#: The types of the files, whatever the machine's own table says.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_TEXTS = ("text/", "image/svg")
#: No inline script or style, no other origin, no frame; strings never become script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A file of `dist/`: its bytes, the same packed, its type and its digest."""

    data: bytes
    packed: bytes
    content_type: str
    digest: str


@cache
def built_files() -> dict[str, BuiltFile]:
    """Return the files of the console by their names."""
    return {path.name: _built(path) for path in sorted(_DIST.iterdir())}


def _built(path: Path) -> BuiltFile:
    data = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    content_type = f"{kind}; charset=utf-8" if kind.startswith(_TEXTS) else kind
    digest = hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
    return BuiltFile(data, gzip.compress(data, _GZIP_LEVEL, mtime=0), content_type, digest)


@blueprint.get("/console")
@blueprint.get("/console/")
@blueprint.get("/console/<path:place>")
def page(place: str = "") -> Response:  # noqa: ARG001 - the page reads the address itself
    """Show the console."""
    return _answer(built_files()[_PAGE], _ASKED_AGAIN, _HEADERS)


@blueprint.get("/console/assets/<name>")
def asset(name: str) -> Response:
    """Return a file of the console."""
    return built_file(name, _HEADERS)


def ticket_page(headers: Mapping[str, str]) -> Response:
    """Return the page for a ticket, with these headers."""
    return _answer(built_files()[_TICKET_PAGE], _ASKED_AGAIN, headers)


def built_file(name: str, headers: Mapping[str, str]) -> Response:
    """Return a file of a page, with these headers; raise NotFound if there is none."""
    found = built_files().get(name)
    if found is None or name in _PAGES:
        raise NotFound
    return _answer(found, _KEPT, headers)


def _answer(file: BuiltFile, caching: str, headers: Mapping[str, str]) -> Response:
    is_packed = request.accept_encodings.quality("gzip") > 0
    response = Response(
        file.packed if is_packed else file.data, content_type=file.content_type, headers=headers
    )
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = caching
    response.set_etag(f"{file.digest}{'-gzip' if is_packed else ''}")
    response.make_conditional(request.environ)
    return response
