"""Documents of doors in OpenAPI 3.1, and the pages that show them.

The pages load only local files: ours (of this room) and those of Swagger UI and ReDoc
(`vendored/`). They need no secret: a browser sends none, and no document has anything of this node.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, send_from_directory

from api.http import answer

__all__ = ["OpenApiDocument", "serve"]

_PAGES = Path(__file__).parent
_VENDORED = Path(__file__).parents[2] / "http" / "vendored"
#: Files of the pages, and the directory each is in.
_FILES = {
    "swagger-start.js": _PAGES,
    "swagger-ui-bundle.js": _VENDORED,
    "swagger-ui.css": _VENDORED,
    "redoc.standalone.js": _VENDORED,
}
_FILE_AGE_SECONDS = 3600
#: The pages may load from this door only. ReDoc makes its worker and its styles by itself.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"
)
_KEY = "vfolder.document"
OpenApiDocument = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a door shows. The first request makes the document; no start waits for it."""

    make: Callable[[], OpenApiDocument]
    server: str

    def document(self) -> OpenApiDocument:
        found = self.make()
        return {**found, "servers": [{**found["servers"][0], "url": self.server}]}


pages = Blueprint("documents", __name__)


def serve(app: Flask, make: Callable[[], OpenApiDocument], server: str = "/") -> None:
    """Let a door show a document: at `/openapi.json`, and in a browser at `/docs` and `/redoc`.

    `make` returns the document, always the same one; the first request pays for it. `server` is
    the URL of the door that the document describes; `/` is the door that shows it.
    """
    app.extensions[_KEY] = _Shown(make, server)
    app.register_blueprint(pages)


@pages.get("/openapi.json")
def openapi() -> Response:
    """Return the document."""
    return answer(current_app.extensions[_KEY].document())


@pages.get("/docs")
def swagger_ui() -> Response:
    """Return the page of Swagger UI."""
    return _file(_PAGES, "swagger.html")


@pages.get("/redoc")
def redoc() -> Response:
    """Return the page of ReDoc."""
    return _file(_PAGES, "redoc.html")


@pages.get("/docs/<name>")
def page_file(name: str) -> Response:
    """Return a file of the pages."""
    return _file(_FILES.get(name, _PAGES), name if name in _FILES else "none")


def _file(directory: Path, name: str) -> Response:
    response = send_from_directory(directory, name, max_age=_FILE_AGE_SECONDS)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
