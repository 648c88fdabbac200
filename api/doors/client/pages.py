"""The page for a ticket: `/page?token=…` uploads files and folders, or downloads, in a browser.

Everything it needs comes from here (tus-js-client too, `api/http/vendored`), so it works where no
other network is. It knows only what the ticket says; the routes check it again.
"""

from pathlib import Path

from flask import Response, send_from_directory
from werkzeug.exceptions import NotFound

from api.doors.client.routes import blueprint

_HERE = Path(__file__).parent
#: The page's files and where they lie.
_FILES = {
    "page.css": _HERE / "page",
    "page.js": _HERE / "page",
    "tus.min.js": _HERE.parents[1] / "http" / "vendored",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'"
)
#: Browsers ask again after this long whether a file changed.
_FILE_AGE_SECONDS = 3600


@blueprint.get("/page")
def page() -> Response:
    """Show the page."""
    return _guarded(send_from_directory(_HERE / "page", "page.html", max_age=0))


@blueprint.get("/page/<name>")
def page_file(name: str) -> Response:
    """A file of the page."""
    if name not in _FILES:
        raise NotFound
    return _guarded(send_from_directory(_FILES[name], name, max_age=_FILE_AGE_SECONDS))


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = f"{_POLICY}; frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
