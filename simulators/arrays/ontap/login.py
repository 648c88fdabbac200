"""An authorization server as ONTAP trusts one: access tokens by client credentials.

Written from RFC 6749 (sections 2.3.1, 4.4 and 5). It answers at `/oauth/token`.
"""

import secrets
from base64 import b64decode
from urllib.parse import parse_qsl

from simulators.serving import Ask, Say, Simulator

CLIENT_ID, CLIENT_SECRET, SCOPE = "vfolder-proxy", "0auth-sw0rdfish", "ontap"
PATH = "/oauth/token"


class AuthorizationServer(Simulator):
    """Issues tokens; `valid` are those that ONTAP accepts."""

    def __init__(self) -> None:
        super().__init__()
        self.valid: set[str] = set()
        self.issued = 0
        self.refused = 0

    def overloaded(self, status: int) -> Say:
        return Say(status, {"error": "temporarily_unavailable"})

    def expire(self) -> None:
        with self.lock:
            self.valid.clear()

    def answer(self, ask: Ask) -> Say:
        if (ask.method, ask.path) != ("POST", PATH):
            return Say(404, {"error": "invalid_request"})
        scheme, _, own = ask.headers.get("authorization", "").partition(" ")
        if scheme != "Basic" or b64decode(own).decode() != f"{CLIENT_ID}:{CLIENT_SECRET}":
            self.refused += 1
            return Say(401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"})
        if ask.headers.get("content-type") != "application/x-www-form-urlencoded":
            return Say(400, {"error": "invalid_request"})
        form = dict(parse_qsl(ask.raw.decode()))
        if form.get("grant_type") != "client_credentials":
            return Say(400, {"error": "unsupported_grant_type"})
        if form.get("scope", SCOPE) != SCOPE:
            return Say(400, {"error": "invalid_scope", "error_description": "No such scope."})
        with self.lock:
            token = secrets.token_urlsafe(48)
            self.valid.add(token)
            self.issued += 1
        return Say(200, {"access_token": token, "token_type": "Bearer", "expires_in": 300})
