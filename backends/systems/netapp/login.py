"""The ways to log in at ONTAP: a password, a certificate, or a token of an authorization server.

ONTAP keeps no session. A password and a certificate go with every request, and are checked once
before the first one. A token comes from the authorization server that ONTAP trusts (OAuth 2.0,
ONTAP 9.14), by client credentials (RFC 6749 section 4.4), and is renewed when ONTAP refuses it.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from msgspec import Struct

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayEndpoint,
    ArrayRefusal,
    ArrayRequest,
    Client,
    Reason,
    basic_token,
    body_as,
    checked_login,
    unknown,
)
from backends.systems.netapp.options import NetAppOptions

#: Read to check the credentials: users of one SVM may read it, too.
_CHECK = "/api/storage/volumes?max_records=1"
SignIn = Callable[[Client], Mapping[str, str]]


def login_of(options: NetAppOptions) -> tuple[SignIn, tuple[str, ...]]:
    """Return the login that the options describe, and its secrets.

    Raises:
        ConfigurationError: they describe none, or several.
    """
    way = options.login
    if way == "certificate":
        refused = "ONTAP does not know a user by this certificate."
        return checked_login({}, _CHECK, refused), ()
    if way == "oauth":
        login = _TokenLogin(options)
        return login, login.secrets
    password = options.netapp_ontap_password or ""
    token = basic_token(options.netapp_ontap_user or "", password)
    refused = "The array does not accept the user or the password."
    headers = {"Authorization": f"Basic {token}"}
    return checked_login(headers, _CHECK, refused), (password, token)


class _Token(Struct):
    access_token: str


class _TokenRefusal(Struct):
    """See RFC 6749 section 5.2."""

    error: str = ""
    error_description: str = ""


class _TokenLogin:
    """Gets an access token, and proves that ONTAP accepts it before any request uses it."""

    def __init__(self, options: NetAppOptions) -> None:
        address = urlsplit(options.netapp_oauth_token_url or "")
        secret = options.netapp_oauth_client_secret or ""
        own = basic_token(options.netapp_oauth_client_id or "", secret)
        self.secrets = (secret, own)
        self._path = address.path or "/"
        self._headers = {"Authorization": f"Basic {own}"}
        self._form = {"grant_type": "client_credentials"}
        if options.netapp_oauth_scope:
            self._form["scope"] = options.netapp_oauth_scope
        self._server = Client(
            ArrayEndpoint(
                endpoints=(f"{address.scheme}://{address.netloc}",),
                ca_bundle=options.netapp_oauth_ca_bundle,
            ),
            lambda _: {},
            _dialect,
            secrets=self.secrets,
            answer_seconds=options.answer_seconds,
        )

    def __call__(self, client: Client) -> Mapping[str, str]:
        """Return the headers of a new token.

        Raises:
            ArrayRefused: the authorization server or ONTAP refuses.
        """
        request = ArrayRequest(
            "POST", self._path, form=self._form, headers=self._headers, shape=_Token
        )
        token: _Token = self._server.exchange(request).body
        headers = {"Authorization": f"Bearer {token.access_token}"}
        return checked_login(headers, _CHECK, "ONTAP does not accept the access token.")(client)


def _dialect(answer: ArrayAnswer) -> ArrayRefusal:
    """Parse a refusal of an authorization server; a refused client is a permanent one."""
    plain, said = unknown(answer), body_as(answer, _TokenRefusal)
    if said is None:
        return plain
    denied = answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)
    words = f"the authorization server said {said.error} {said.error_description}".strip()
    return ArrayRefusal(Reason.DENIED if denied else plain.reason, said.error, words)
