"""Pages that explain alerts and errors, in plain text. They need no secret and no other network."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

__all__ = [
    "blueprint",
    "sections",
]

blueprint = Blueprint("pages", __name__)

_HERE = Path(__file__).parent
_SECTION = re.compile(r"^## (\S+)\n", re.MULTILINE)
_AGE_SECONDS = 3600
#: Refusals of the server have one page for all statuses.
_SERVER_REFUSES = "storage/http"


@cache
def sections(file: str) -> Mapping[str, str]:
    """Return the sections of a file of pages by their titles."""
    _, *parts = _SECTION.split((_HERE / file).read_text("utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


@blueprint.get("/runbooks/<name>")
def runbook(name: str) -> Response:
    """Return what to do when an alert fires."""
    return _page("runbooks.md", name)


@blueprint.get("/problems/<path:kind>")
def problem(kind: str) -> Response:
    """Return what an error of a kind means, and what to do."""
    return _page("problems.md", _SERVER_REFUSES if kind.startswith(f"{_SERVER_REFUSES}/") else kind)


def _page(file: str, title: str) -> Response:
    text = sections(file).get(title)
    if text is None:
        raise NotFound
    response = Response(f"{title}\n{'=' * len(title)}\n{text}", mimetype="text/plain")
    response.headers["Cache-Control"] = f"max-age={_AGE_SECONDS}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
