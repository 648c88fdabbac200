"""The shared secret of the manager door.

The check runs before routing, so a caller without the secret cannot learn which routes exist. Only
the probes and the pages that explain alerts are open, by method and path. The comparison takes
constant time.
"""

import hmac

from flask import Flask

from api.http.flask_app import this_request
from core.cluster import SECRET_HEADER
from core.errors import Forbidden

HEADER = SECRET_HEADER
#: The header as WSGI names it; this lookup is faster.
_HEADER_VARIABLE = f"HTTP_{HEADER.upper().replace('-', '_')}"
#: GET below these paths needs no secret: pages that explain alerts, errors, and the API.
OPEN_PAGES = ("/docs/", "/problems/", "/runbooks/")
#: GET on these paths needs no secret. Every other request needs it.
OPEN_PATHS = frozenset(
    {"/", "/status", "/version", "/health", "/livez", "/readyz", "/docs", "/redoc", "/openapi.json"}
)


def require_secret(app: Flask, secret: str) -> None:
    """Refuse every request without the secret in its header, before routing."""
    expected = secret.encode()

    @app.before_request
    def check() -> None:
        request = this_request()
        path = request.path
        if request.method == "GET" and (path in OPEN_PATHS or path.startswith(OPEN_PAGES)):
            return
        request.unauthenticated = True
        given = request.environ.get(_HEADER_VARIABLE, "")
        if not given:
            raise Forbidden(f"The header {HEADER} is missing; send the secret in it.")
        if not hmac.compare_digest(given.encode("latin-1", "replace"), expected):
            raise Forbidden(
                "The secret is wrong; it is `secret` in [api.manager] of the configuration."
            )
        request.unauthenticated = False
