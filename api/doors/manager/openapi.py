"""The OpenAPI 3.1 document of the manager door, made from its routes, and the pages that show it.

The pages load only local files: ours (`pages/`) and those of Swagger UI and ReDoc (`vendored/`).
They need no secret: a browser sends none, and the document has nothing of this node.

`python -m api.doors.manager.openapi > docs/openapi.json` renews the committed copy.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, send_from_directory
from flask_smorest import Api

from api.http import answer, auth
from api.routes import described

TITLE = "vfolder manager door"
_PAGES = Path(__file__).parent / "pages"
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
_DESCRIPTION = """
Parameters are a JSON object in the body, on every method, GET and DELETE included; the content
type does not matter. Times are RFC 3339 in UTC. Sizes are integers of bytes. Unknown is null.
Every error is an `application/problem+json` document (RFC 9457) with a stable `error_code`.
""".strip()

#: The server of a document: the door that shows it.
_HERE = {"url": "/", "description": "the manager door"}
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


def describe(app: Flask) -> Api:
    """Return an empty document for the routes of the app."""
    scheme = {"type": "apiKey", "in": "header", "name": auth.HEADER}
    api = described.describe(app, TITLE, _DESCRIPTION, {"secret": scheme})
    api.spec.options["servers"] = [_HERE]
    return api


@cache
def manager_document(*, people: bool = False) -> dict[str, Any]:
    """Return the document of the manager door, without a running door.

    With `people`, that of a door whose settings have the table `[vfolder.access]`.
    """
    from api.doors import manager  # noqa: PLC0415 - its routes import this module

    app = Flask("manager", static_folder=None)
    api = describe(app)
    manager.install(api, people=people)
    document: dict[str, Any] = api.spec.to_dict()
    return document


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(manager_document(), indent=1, sort_keys=True) + "\n")
