"""Keys of an issuer over HTTP: used while it is away, and never what a lying server sends."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from core.access.credentials import issuer_http
from core.access.credentials.jwks import (
    FAILED_PAUSE_SECONDS,
    FRESH_SECONDS,
    STALE_SECONDS,
    UNKNOWN_PAUSE_SECONDS,
    JWKSet,
)
from core.errors import AccessUnavailable
from core.settings import IssuerTable
from tests.support.issuer import (
    AUDIENCE,
    NAME,
    PATIENCE_SECONDS,
    KeyServer,
    SigningKey,
    key_server,
    send,
)

KEY, NEXT = SigningKey("one"), SigningKey("two")
SMALL_RSA = {"kty": "RSA", "kid": "small", "n": "x" * 100, "e": "AQAB"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as running:
        running.keys = [KEY.jwk()]
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_at(url: str, clock: Clock) -> JWKSet:
    table = IssuerTable(issuer=NAME, audience=AUDIENCE, algorithms=["ES256"], jwks_url=url)
    return JWKSet(table, Path(), clock)


def test_keys_are_asked_for_once_in_five_minutes(server: KeyServer, clock: Clock) -> None:
    found = keys_at(server.url, clock)
    for _ in range(20):
        assert found.key("one", "ES256") is not None
    clock.now += FRESH_SECONDS - 1
    assert found.key("one", "ES256") is not None
    assert server.requests == 1
    clock.now += 1
    assert found.key("one", "ES256") is not None
    assert server.requests == 2


def test_a_token_without_kid_takes_the_only_key(server: KeyServer, clock: Clock) -> None:
    found = keys_at(server.url, clock)
    assert found.key(None, "ES256") is not None
    server.keys.append(NEXT.jwk())
    clock.now += FRESH_SECONDS
    assert found.key(None, "ES256") is None


def test_unknown_kids_are_asked_for_once_a_minute(server: KeyServer, clock: Clock) -> None:
    found = keys_at(server.url, clock)
    for number in range(50):
        assert found.key(f"guess-{number}", "ES256") is None
    assert server.requests == 1
    server.keys = [NEXT.jwk()]  # the issuer changes its key
    clock.now += UNKNOWN_PAUSE_SECONDS
    assert found.key("two", "ES256") is not None
    assert found.key("one", "ES256") is None, "a key that the issuer withdrew is none"
    assert server.requests == 2


def redirect(request: BaseHTTPRequestHandler) -> None:
    send(request, b"", 302, Location="/keys?again")


def without_end(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(2000):
        request.wfile.write(b" " * 1000)


def cut(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"keys": [')


def hung_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


WRONG: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "500": lambda request: send(request, b"{}", 500),
    "not JSON": lambda request: send(request, b"<html>Sign in</html>"),
    "brackets": lambda request: send(request, b"[" * 200_000),
    "a list": lambda request: send(request, b"[]"),
    "keys are no list": lambda request: send(request, b'{"keys": {}}'),
    "huge": lambda request: send(request, b'{"keys": [' + b" " * 300_000 + b"]}"),
    "without end": without_end,
    "redirect": redirect,
    "cut": cut,
    "hung up": hung_up,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_failing_issuer_is_away(server: KeyServer, clock: Clock, name: str) -> None:
    """Known keys are used for a day; without any, no token is taken."""
    found = keys_at(server.url, clock)
    well, server.answer = server.answer, WRONG[name]
    with pytest.raises(AccessUnavailable):
        found.key("one", "ES256")
    with pytest.raises(AccessUnavailable):
        found.key("one", "ES256")
    assert server.requests == 1, "each caller asked again"
    server.answer = well
    clock.now += FAILED_PAUSE_SECONDS
    assert found.key("one", "ES256") is not None, "it flaps"
    server.answer = WRONG[name]
    clock.now += STALE_SECONDS - 1
    assert found.key("one", "ES256") is not None
    clock.now += 1
    with pytest.raises(AccessUnavailable):
        found.key("one", "ES256")


def test_a_dripping_answer_ends(
    server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_http, "FETCH_SECONDS", 0.2)
    stopped = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not stopped.wait(0.02):
            request.wfile.write(b" ")

    server.answer = drip
    try:
        with pytest.raises(AccessUnavailable):
            keys_at(server.url, clock).key("one", "ES256")
    finally:
        stopped.set()


def test_a_slow_issuer_holds_one_caller_only(server: KeyServer, clock: Clock) -> None:
    found = keys_at(server.url, clock)
    assert found.key("one", "ES256") is not None
    clock.now += FRESH_SECONDS
    server.asked.clear()
    server.goes_on.clear()
    asking = threading.Thread(target=found.key, args=("one", "ES256"))
    asking.start()
    assert server.asked.wait(PATIENCE_SECONDS)
    assert found.key("one", "ES256") is not None, "the others use what is known"
    server.goes_on.set()
    asking.join(PATIENCE_SECONDS)
    assert server.requests == 2


@pytest.mark.parametrize(
    "entry",
    [
        KEY.jwk(use="enc"),
        KEY.jwk(alg="ES384"),
        KEY.jwk(key_ops=["sign"]),
        KEY.jwk(crv="P-384"),
        KEY.jwk(x="AA"),
        KEY.jwk(kty="oct", k="c2VjcmV0"),
        KEY.jwk(d="private"),
        KEY.jwk(kty=None),
        SMALL_RSA,
        "text",
        None,
    ],
    # The key is another one in each process, so no name of a test may have it.
    ids=(
        *("use", "alg", "key_ops", "crv", "x", "kty", "private", "no kty", "small RSA"),
        *("text", "null"),
    ),
)
def test_entries_that_do_not_fit_are_no_keys(
    server: KeyServer, clock: Clock, entry: object
) -> None:
    server.keys = [entry, NEXT.jwk()]  # type: ignore[list-item] # it lies
    found = keys_at(server.url, clock)
    assert found.key("one", "ES256") is None
    assert found.key("two", "ES256") is not None


def test_an_entry_without_alg_and_use_fits(server: KeyServer, clock: Clock) -> None:
    server.keys = [KEY.jwk(alg=None, use=None)]
    assert keys_at(server.url, clock).key("one", "ES256") is not None


def test_a_changed_file_is_read_again(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [KEY.jwk()]}))
    table = IssuerTable(issuer=NAME, audience=AUDIENCE, algorithms=["ES256"], jwks_file="keys.json")
    found = JWKSet(table, tmp_path, clock)
    assert found.key("one", "ES256") is not None
    (tmp_path / "new").write_text(json.dumps({"keys": [NEXT.jwk()]}))
    os.replace(tmp_path / "new", path)
    assert found.key("two", "ES256") is not None
    assert found.key("one", "ES256") is None
    path.unlink()
    assert found.key("two", "ES256") is not None, "the file is away for now"
