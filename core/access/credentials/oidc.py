"""Sign-in of a browser at an issuer: the authorization code flow of OpenID Connect with PKCE.

OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE), RFC 9207 (`iss` of an answer), RFC 9700 (practice).

    begin      a flow with `state`, `nonce` and the verifier of PKCE is sealed into a cookie
               (AES-256-GCM), and the browser goes to the issuer
    callback   the cookie of the state is opened, and the code is exchanged for an ID token, which
               never leaves this service

So nothing is kept here for browsers that never come back, and every node can end what another one
began. A code works once: the issuer sees to that.
"""

import base64
import binascii
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from core.access.credentials.issuer_http import CALL_ERRORS, IssuerHttp
from core.access.credentials.issuers import CredentialRefused
from core.access.credentials.signins import challenge_of
from core.access.records import derived_key
from core.errors import AccessUnavailable, InvalidParameters
from core.settings import AccessTable, IssuerTable, check_url
from core.telemetry import logger

#: A browser comes back from the issuer within this (seconds).
FLOW_SECONDS = 600.0
#: What an issuer says of itself is asked for again after this, and used without an answer for so
#: long; after a call that failed the next one waits (seconds).
FRESH_SECONDS = 300.0
STALE_SECONDS = 86_400.0
FAILED_PAUSE_SECONDS = 10.0
#: Calls of one process to one issuer at a time; each holds a thread.
CALLS_MAX = 8
#: The longest path that a browser comes back to; all of the flow is in one cookie (characters).
TARGET_MAX = 1000
#: More than any issuer sends (characters).
CODE_MAX = 4096
_METADATA_PATH = "/.well-known/openid-configuration"
_LABEL = b"oidc-sign-in"
_SECRET_BYTES = 32
_NONCE_BYTES = 12
#: The part of a state that names its cookie: a browser may begin in several windows.
_NAMING = 12
#: Printable ASCII without a backslash, and no second slash: that would be another host.
_TARGET = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")
_log = logger(__name__)


class OidcFlow(Struct, frozen=True, array_like=True):
    """A sign-in that has begun in one browser."""

    #: The name of the issuer.
    issuer: str
    state: str
    nonce: str
    verifier: str
    #: The path of this service to which the browser goes afterwards.
    target: str
    #: Seconds of the epoch.
    ends_at: float
    #: Of the program that the sign-in is for; empty: of the browser.
    challenge: str = ""

    @property
    def cookie(self) -> str:
        """Return the part of a cookie's name that is of this flow."""
        return cookie_of(self.state)


class OidcRefused(Exception):
    """The issuer did not let the person in; `reason` is its word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OidcMetadata(Struct, frozen=True):
    """What an issuer says of itself (OpenID Connect Discovery 1.0 §3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class OidcClients:
    """This service as a client of its issuers, in one process. Safe for threads."""

    def __init__(
        self, table: AccessTable, directory: Path, client_url: str, seals: Sequence[str]
    ) -> None:
        """Seal flows by the first of the `seals`; open those of each."""
        base = (table.sign_in_url or client_url).rstrip("/")
        self._base = f"{base}/v1/signin/oidc"
        self._keys = [AESGCM(derived_key(secret.encode(), _LABEL)) for secret in seals]
        self._clients = {
            one.name: OidcClient(one, directory, f"{self._base}/{one.name}/callback")
            for one in table.issuer
            if one.client_id
        }

    @property
    def clients(self) -> list["OidcClient"]:
        """Return the issuers at which browsers can sign in."""
        return list(self._clients.values())

    def named(self, name: str) -> "OidcClient | None":
        """Return the client of an issuer; None when there is none of this name."""
        return self._clients.get(name)

    def url_of(self, client: "OidcClient") -> str:
        """Return where a browser begins to sign in."""
        return f"{self._base}/{client.table.name}"

    def sealed(self, flow: OidcFlow) -> str:
        """Return the text of the cookie of a flow."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = self._keys[0].encrypt(nonce, msgspec.json.encode(flow), None)
        return base64.urlsafe_b64encode(nonce + text).decode().rstrip("=")

    def opened(self, cookie: str, issuer: str, state: str) -> OidcFlow | None:
        """Return the flow of a cookie; None when it has ended, or is not of this state."""
        now = time.time()
        for key in self._keys:
            try:
                sealed = base64.b64decode(cookie + "=" * (-len(cookie) % 4), b"-_", validate=True)
                text = key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
                flow = msgspec.json.decode(text, type=OidcFlow)
            except (InvalidTag, binascii.Error, ValueError):
                continue
            given = state.encode("utf-8", "surrogateescape")
            same = hmac.compare_digest(flow.state.encode(), given)
            return flow if same and flow.issuer == issuer and now < flow.ends_at else None
        return None


class OidcClient:
    """This service as a client of one issuer. Safe for threads."""

    def __init__(
        self,
        table: IssuerTable,
        directory: Path,
        redirect_uri: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.table = table
        self._redirect_uri = redirect_uri
        self._clock = clock
        authority = directory / table.jwks_ca if table.jwks_ca else None
        self._http = IssuerHttp(authority, connections=CALLS_MAX)
        self._calls = threading.BoundedSemaphore(CALLS_MAX)
        self._asking = threading.Lock()
        self._metadata: OidcMetadata | None = None
        #: On the monotonic clock; None: never.
        self._found_at: float | None = None
        self._failed_at: float | None = None

    def begin(self, target: str, challenge: str = "") -> tuple[OidcFlow, str]:
        """Return a new flow, and the URL of the issuer to which the browser goes.

        `challenge` is that of the program that the sign-in is for.

        Raises:
            AccessUnavailable: the issuer does not answer, and was not known before.
        """
        endpoint = urlsplit(self._known().authorization_endpoint)
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        table = self.table
        ends_at = time.time() + FLOW_SECONDS
        flow = OidcFlow(table.name, state, nonce, verifier, target, ends_at, challenge)
        query = urlencode(
            {
                "response_type": "code",
                "client_id": table.client_id,
                "redirect_uri": self._redirect_uri,
                "scope": table.client_scope,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge_of(verifier),
                "code_challenge_method": "S256",
            }
        )
        query = f"{endpoint.query}&{query}" if endpoint.query else query
        return flow, urlunsplit(endpoint._replace(query=query, fragment=""))

    def id_token(self, flow: OidcFlow, answer: Mapping[str, str]) -> str:
        """Return the ID token, not checked yet, for what the browser brought from the issuer.

        Raises:
            OidcRefused: the issuer did not let the person in.
            CredentialRefused: the answer is of another issuer, or the code is not good.
            AccessUnavailable: the issuer does not answer, or does not know this client.
        """
        metadata = self._known()
        said = answer.get("iss")
        is_required = metadata.authorization_response_iss_parameter_supported
        if (said is not None or is_required) and said != self.table.issuer:
            raise CredentialRefused("issuer")
        if "error" in answer:
            raise OidcRefused(answer["error"])
        code = answer.get("code", "")
        if not code or len(code) > CODE_MAX:
            raise CredentialRefused("code")
        return self._exchanged(metadata, code, flow.verifier)

    def _exchanged(self, metadata: OidcMetadata, code: str, verifier: str) -> str:
        """Return the ID token of a code (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        members, headers = proof_of(self.table, metadata)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            status, body = self._call("POST", metadata.token_endpoint, form | members, headers)
            found = msgspec.json.decode(body)
        except (*CALL_ERRORS, RecursionError) as error:
            raise self._away(str(error)) from None
        answer: dict[str, Any] = found if isinstance(found, dict) else {}
        if status == HTTPStatus.BAD_REQUEST and answer.get("error") == "invalid_grant":
            raise CredentialRefused("code")
        token = answer.get("id_token")
        if status != HTTPStatus.OK or not isinstance(token, str):
            raise self._away(f"status {status}, error {answer.get('error')!r}, or no id_token")
        return token

    def _call(
        self, method: str, url: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        if not self._calls.acquire(blocking=False):
            raise self._away(f"{CALLS_MAX} calls are waiting for it")
        try:
            body = None if form is None else urlencode(form).encode()
            return self._http.call(method, url, body=body, headers=headers)
        finally:
            self._calls.release()

    def _known(self) -> OidcMetadata:
        """Return what the issuer says of itself.

        Raises:
            AccessUnavailable: it does not answer, and was not known before.
        """
        if self._age(self._found_at) >= FRESH_SECONDS:
            with self._asking:
                self._ask_again()
        if self._metadata is None or self._age(self._found_at) >= STALE_SECONDS:
            raise self._away("its metadata is not known")
        return self._metadata

    def _ask_again(self) -> None:
        """Ask the issuer, unless another thread did, or a call failed just now."""
        if self._age(self._found_at) < FRESH_SECONDS:
            return
        if self._age(self._failed_at) < FAILED_PAUSE_SECONDS:
            return
        try:
            url = self.table.issuer.rstrip("/") + _METADATA_PATH
            status, body = self._call("GET", url, None, {})
            if status != HTTPStatus.OK:
                raise ValueError(f"status {status}")
            self._metadata, self._found_at = _metadata(body, self.table.issuer), self._clock()
        except (*CALL_ERRORS, AccessUnavailable) as error:
            self._failed_at = self._clock()
            _log.warning("issuer not read", issuer=self.table.issuer, reason=str(error))

    def _age(self, at: float | None) -> float:
        return float("inf") if at is None else self._clock() - at

    def _away(self, reason: str) -> AccessUnavailable:
        _log.warning("no sign-in at issuer", issuer=self.table.issuer, reason=reason)
        return AccessUnavailable("The issuer does not let this service sign in. Try again shortly.")


def _metadata(body: bytes, issuer: str) -> OidcMetadata:
    """Return the metadata of an issuer.

    Raises:
        ValueError: it is of another one, lacks something, or names an endpoint without https.
    """
    try:
        found = msgspec.json.decode(body, type=OidcMetadata)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no metadata of an issuer: {error}") from None
    if found.issuer != issuer:
        raise ValueError(f"it calls itself {found.issuer!r}")
    check_url("authorization_endpoint", found.authorization_endpoint)
    check_url("token_endpoint", found.token_endpoint)
    return found


def proof_of(table: IssuerTable, metadata: OidcMetadata) -> tuple[dict[str, str], dict[str, str]]:
    """Return what proves the client in a call: members of the form, and headers (RFC 6749 §2.3.1).

    A public client only names itself.
    """
    name, secret = table.client_id, table.client_secret
    if not secret:
        return {"client_id": name}, {}
    methods = metadata.token_endpoint_auth_methods_supported
    if "client_secret_basic" not in methods and "client_secret_post" in methods:
        return {"client_id": name, "client_secret": secret}, {}
    pair = f"{quote_plus(name)}:{quote_plus(secret)}"
    return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def cookie_of(state: str) -> str:
    """Return the part of a cookie's name that is of the flow with this state."""
    return state[:_NAMING]


def checked_target(text: str) -> str:
    """Return a path of this service, to which a browser may be sent.

    Raises:
        InvalidParameters: it could lead elsewhere, or is too long.
    """
    if len(text) > TARGET_MAX or not _TARGET.fullmatch(text):
        detail = f"to is a path of this service, as `/console`, of at most {TARGET_MAX} characters."
        raise InvalidParameters(detail, errors=[{"pointer": "/to", "detail": detail}])
    return text


def with_failure(target: str, word: str) -> str:
    """Return a target with the word of a failure in its query: `signin_error`."""
    parts = urlsplit(target)
    query = "&".join(filter(None, (parts.query, urlencode({"signin_error": word}))))
    return urlunsplit(parts._replace(query=query))
