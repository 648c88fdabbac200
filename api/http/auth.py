"""Who may talk to the manager door: whoever knows its secret.

The check runs before routing, so that a stranger cannot tell which routes exist; only the probes
are open, by method and path. The comparison takes the same time however much of it is right.
"""

import hmac

from flask import Flask

from api.http.flask_app import this_request
from core.errors import Forbidden

HEADER = "X-BackendAI-Storage-Auth-Token"
#: The same as WSGI names it, which is found sooner.
_GIVEN = f"HTTP_{HEADER.upper().replace('-', '_')}"
#: GET on these needs no secret (and nothing else does not).
OPEN_PATHS = frozenset({"/", "/status", "/health", "/livez", "/readyz"})


def require_secret(app: Flask, secret: str) -> None:
    """Refuse every request of the app without the secret in its header, before routing."""
    wanted = secret.encode()

    @app.before_request
    def check() -> None:
        request = this_request()
        if request.method == "GET" and request.path in OPEN_PATHS:
            return
        request.unauthenticated = True
        given = request.environ.get(_GIVEN, "")
        if not given:
            raise Forbidden(f"The header {HEADER} is missing.")
        if not hmac.compare_digest(given.encode("latin-1", "replace"), wanted):
            raise Forbidden("The secret is wrong; it is `secret` of [api.manager].")
        request.unauthenticated = False
