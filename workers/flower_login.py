"""Flower with a login for every route.

Flower 2.2 asks for the login at its pages and its API, but answers `/metrics`, `/healthcheck`, its
static files and unknown routes without it. No option changes that (docs/dependencies.md).
"""

import base64
import hmac
from typing import Any

from flower.app import Flower
from flower.views import BaseHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError


class LoginRequired(BaseHandler):
    """Answers 401 to any request; the base class asks the browser for the login."""

    def prepare(self) -> None:
        """Refuse the request before its method is called."""
        raise HTTPError(401)


def require_login(user: str, password: str) -> None:
    """Let every Flower of this process refuse requests without this login, before routing."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    expected = f"Basic {login}".encode()
    find_handler = Flower.find_handler

    def checked(app: Flower, request: HTTPServerRequest, **more: Any) -> Any:  # noqa: ANN401 - tornado's
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if hmac.compare_digest(given, expected):
            return find_handler(app, request, **more)
        return app.get_handler_delegate(request, LoginRequired)

    Flower.find_handler = checked
