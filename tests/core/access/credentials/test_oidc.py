"""Sign-in at an issuer: its metadata, the proof of the client, and which ID tokens count."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import jwt
import pytest

from core.access.credentials.issuers import CredentialRefused, Issuers
from core.access.credentials.oidc import (
    CALLS_MAX,
    FAILED_PAUSE_SECONDS,
    FRESH_SECONDS,
    STALE_SECONDS,
    OidcClient,
    OidcMetadata,
    OidcRefused,
    proof_of,
    with_failure,
)
from core.access.credentials.signins import challenge_of
from core.errors import AccessUnavailable
from core.settings import AccessTable, IssuerTable
from tests.support.issuer import AUDIENCE, NAME, KeyServer, SigningKey, key_server, send

KEY = SigningKey("one", "RS256")
CLIENT = "vfolder-console"


def table(**changed: Any) -> IssuerTable:
    facts = {"issuer": NAME, "audience": AUDIENCE, "algorithms": ["RS256"], "client_id": CLIENT}
    return IssuerTable(**{**facts, "name": "lab", "jwks_file": "keys.json", **changed})


# -- ID tokens -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Issuers:
    directory = tmp_path_factory.mktemp("keys")
    (directory / "keys.json").write_text(json.dumps({"keys": [KEY.jwk()]}))
    return Issuers(AccessTable(issuer=[table()]), directory)


@pytest.mark.parametrize(
    "changed", [{}, {"aud": [CLIENT]}, {"aud": [CLIENT, "x"], "azp": CLIENT}, {"azp": CLIENT}]
)
def test_an_id_token_for_this_browser_is_valid(issuers: Issuers, changed: dict[str, Any]) -> None:
    token = KEY.token(**{"aud": CLIENT, "nonce": "n", **changed})
    assert issuers.verified_id_token(NAME, token, "n").subject.kind == "user"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nonce": "other"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["n"]}, "nonce"),
        ({"aud": AUDIENCE}, "audience"),
        ({"aud": [CLIENT, "x"]}, "audience"),
        ({"aud": [CLIENT, "x"], "azp": "x"}, "audience"),
        ({"azp": "x"}, "audience"),
        ({"aud": [CLIENT, "vfolder-data"], "azp": CLIENT}, "audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": f"{NAME}/"}, "issuer"),
        ({"iat": -900, "exp": -600}, "expired"),
        ({"exp": None}, "claims"),
        ({"iat": 600, "exp": 900}, "too_early"),
        ({"exp": 86_400}, "lifetime"),
    ],
    ids=str,
)
def test_another_id_token_is_none(issuers: Issuers, changed: dict[str, Any], reason: str) -> None:
    """Moments are seconds from now."""
    moments = {name: changed.get(name) for name in ("iat", "exp")}
    at = {name: time.time() + delta for name, delta in moments.items() if delta is not None}
    changed = changed | at
    token = KEY.token(**{"aud": CLIENT, "nonce": "n", **changed})
    with pytest.raises(CredentialRefused) as error:
        issuers.verified_id_token(NAME, token, "n")
    assert error.value.reason == reason


def test_an_id_token_is_signed_by_a_key_of_the_issuer(issuers: Issuers) -> None:
    claims = {"iss": NAME, "aud": CLIENT, "sub": "a", "nonce": "n"}
    times = {"iat": int(time.time()), "exp": int(time.time()) + 60}
    by_secret = jwt.encode({**claims, **times}, "s" * 32, "HS256", headers={"kid": KEY.kid})
    unsigned = jwt.encode({**claims, **times}, None, "none")
    by_other = SigningKey("one", "RS256").token(aud=CLIENT, nonce="n")
    for token in (by_secret, unsigned, by_other, "x", ""):
        with pytest.raises(CredentialRefused):
            issuers.verified_id_token(NAME, token, "n")


def test_an_id_token_is_no_token_for_the_api(issuers: Issuers) -> None:
    with pytest.raises(CredentialRefused):
        issuers.verified(KEY.token(aud=CLIENT, nonce="n"))


# -- Metadata --------------------------------------------------------------------------------------
@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as found:
        yield found


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def client_of(server: KeyServer, clock: Callable[[], float] = time.monotonic) -> OidcClient:
    issuer = server.url.removesuffix("/keys")
    return OidcClient(table(issuer=issuer), Path(), "https://files.example/callback", clock)


def metadata_of(server: KeyServer, **changed: Any) -> bytes:
    issuer = server.url.removesuffix("/keys")
    usual = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/auth?tenant=1",
        "token_endpoint": f"{issuer}/token",
    }
    found = {key: value for key, value in {**usual, **changed}.items() if value is not None}
    return json.dumps(found).encode()


def test_the_endpoints_are_those_of_the_issuer(server: KeyServer) -> None:
    server.answer = lambda request: send(request, metadata_of(server))
    flow, url = client_of(server).begin("/console")
    assert url.startswith(f"{server.url.removesuffix('/keys')}/auth?tenant=1&response_type=code&")
    assert f"code_challenge={challenge_of(flow.verifier)}" in url
    assert f"nonce={flow.nonce}" in url
    assert flow.verifier not in url


_WRONG: dict[str, Callable[[KeyServer, BaseHTTPRequestHandler], None]] = {
    "another issuer": lambda server, request: send(
        request, metadata_of(server, issuer="https://evil.example")
    ),
    "plain http": lambda server, request: send(
        request, metadata_of(server, token_endpoint="http://id.example/token")
    ),
    "a script": lambda server, request: send(
        request, metadata_of(server, authorization_endpoint="javascript:alert(1)")
    ),
    "no endpoint": lambda server, request: send(request, metadata_of(server, token_endpoint=None)),
    "no JSON": lambda _, request: send(request, b"<html>"),
    "huge": lambda server, request: send(request, metadata_of(server) + b" " * 300_000),
    "status": lambda server, request: send(request, metadata_of(server), 500),
    "redirect": lambda server, request: send(request, b"", 302, Location=server.url),
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_other_metadata_is_none(server: KeyServer, wrong: str) -> None:
    server.answer = lambda request: _WRONG[wrong](server, request)
    client = client_of(server)
    for _ in range(2):
        with pytest.raises(AccessUnavailable):
            client.begin("/console")
    assert server.requests == 1, "it is not asked again at once"


def test_metadata_is_used_while_the_issuer_is_away(server: KeyServer) -> None:
    clock = Clock()
    client = client_of(server, clock)
    server.answer = lambda request: send(request, metadata_of(server))
    client.begin("/console")
    clock.now += FRESH_SECONDS - 1
    client.begin("/console")
    assert server.requests == 1
    server.answer = lambda request: send(request, b"", 503)
    clock.now += 1
    client.begin("/console")
    clock.now += FAILED_PAUSE_SECONDS
    client.begin("/console")
    assert server.requests == 3
    clock.now += STALE_SECONDS
    with pytest.raises(AccessUnavailable):
        client.begin("/console")


# -- Codes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant"}, CredentialRefused),
        (400, {"error": "invalid_client"}, AccessUnavailable),
        (401, {"error": "invalid_client"}, AccessUnavailable),
        (200, {"access_token": "x"}, AccessUnavailable),
        (200, {"id_token": 1}, AccessUnavailable),
        (200, [], AccessUnavailable),
        (500, {}, AccessUnavailable),
    ],
    ids=str,
)
def test_a_code_that_gives_no_token(
    server: KeyServer, status: int, body: object, kind: type[Exception]
) -> None:
    server.answer = lambda request: send(request, metadata_of(server))
    client = client_of(server)
    flow, _ = client.begin("/console")

    def answered(request: BaseHTTPRequestHandler) -> None:
        send(request, json.dumps(body).encode(), status)

    server.answer = answered
    with pytest.raises(kind):
        client.id_token(flow, {"code": "c"})


def test_an_answer_of_another_issuer_is_none(server: KeyServer) -> None:
    """RFC 9207: a browser that was at two issuers brings one's code to the other's callback."""
    says = {"authorization_response_iss_parameter_supported": True}
    server.answer = lambda request: send(request, metadata_of(server, **says))
    client = client_of(server)
    flow, _ = client.begin("/console")
    for answer in ({"code": "c"}, {"code": "c", "iss": "https://evil.example"}, {"error": "x"}):
        with pytest.raises(CredentialRefused, match="issuer"):
            client.id_token(flow, answer)
    own = {"iss": server.url.removesuffix("/keys")}
    with pytest.raises(OidcRefused):
        client.id_token(flow, {**own, "error": "access_denied"})
    for code in ("", "c" * 5000):
        with pytest.raises(CredentialRefused, match="code"):
            client.id_token(flow, {**own, "code": code})
    assert server.requests == 1


def test_a_slow_issuer_holds_few_threads(server: KeyServer) -> None:
    server.answer = lambda request: send(request, metadata_of(server))
    client = client_of(server)
    flow, _ = client.begin("/console")
    for _ in range(CALLS_MAX):
        assert client._calls.acquire(blocking=False)
    with pytest.raises(AccessUnavailable):
        client.id_token(flow, {"code": "c"})
    assert server.requests == 1


def test_a_client_proves_itself_as_the_issuer_wants() -> None:
    known = OidcMetadata("i", "a", "t")
    assert proof_of(table(), known) == ({"client_id": CLIENT}, {})
    secret = table(client_secret="a b:%")
    basic = base64.b64encode(f"{CLIENT}:a+b%3A%25".encode()).decode()
    assert proof_of(secret, known) == ({}, {"Authorization": f"Basic {basic}"})
    by_post = OidcMetadata("i", "a", "t", ("client_secret_post",))
    members = {"client_id": CLIENT, "client_secret": "a b:%"}
    assert proof_of(secret, by_post) == (members, {})


@pytest.mark.parametrize(
    ("target", "with_word"),
    [
        ("/", "/?signin_error=denied"),
        ("/console?a=1", "/console?a=1&signin_error=denied"),
        ("/console#/files", "/console?signin_error=denied#/files"),
    ],
)
def test_a_page_reads_why_it_failed(target: str, with_word: str) -> None:
    assert with_failure(target, "denied") == with_word
