"""Sign-in of browsers at an issuer: a real provider, and a door that trusts no browser."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import NAMESPACE_URL, uuid5

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from msgspec import structs
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from api.app import client_door
from api.cli import main
from api.routes import current_door
from core.access.audit import files
from core.access.credentials.oidc import OidcFlow, cookie_of
from core.access.credentials.signins import challenge_of
from core.settings import Settings
from tests.api.client.chromium import browser
from tests.support.doors import closing, settings_in
from tests.support.node import ROOT, wait_for
from tests.support.oidc_provider import SECRET, RunningProvider, running_provider
from tests.support.openapi import Document
from tests.support.ports import free_port
from tests.support.valkey import Valkey

pytestmark = [pytest.mark.part("node"), pytest.mark.part("oidc-provider")]

PORT = free_port()
URL = f"http://localhost:{PORT}"
BEGIN, CALLBACK = "/v1/signin/oidc/lab", "/v1/signin/oidc/lab/callback"
OWN = {"Origin": URL, "X-VFolder": "1"}
ACCESS = """
[vfolder.access]
sign-in-url = "{url}"
[[vfolder.access.issuer]]
issuer = "{issuer}"
audience = "vfolder"
algorithms = ["RS256"]
jwks-url = "{issuer}/jwks"
name = "lab"
label = "The lab"
client-id = "{client}"
{more}
"""


@dataclass
class Site:
    """One process of a client door, and a browser of it."""

    settings: Settings
    app: Flask
    browser: FlaskClient

    def get(self, path: str, **options: object) -> TestResponse:
        return self.browser.get(path, base_url=URL, **options)  # type: ignore[arg-type] # as the client's

    def begin(self, to: str = "/console?x=1#y") -> str:
        """Begin to sign in; return the URL of the provider."""
        answer = self.get(f"{BEGIN}?{urlencode({'to': to})}")
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def back(self, url: str) -> TestResponse:
        """Come back from the provider."""
        parts = urlsplit(url)
        return self.get(f"{parts.path}?{parts.query}")

    def flow_of(self, url: str) -> tuple[str, OidcFlow]:
        """The name of the cookie of what a provider's URL began, and what is in it."""
        state = parse_qs(urlsplit(url).query)["state"][0]
        name = f"vfolder-oidc-{cookie_of(state)}"
        cookie = self.browser.get_cookie(name, "localhost")
        assert cookie is not None
        with self.app.app_context():
            people = current_door().people
            assert people is not None
            flow = people.oidc.opened(cookie.value, "lab", state)
        assert flow is not None
        return name, flow

    def replace_flow(self, url: str, **changed: str) -> None:
        """Give the browser a cookie that this service would never have made."""
        name, flow = self.flow_of(url)
        with self.app.app_context():
            people = current_door().people
            assert people is not None
            text = people.oidc.sealed(structs.replace(flow, **changed))
        self.browser.set_cookie(name, text, domain="localhost")

    def reasons(self) -> list[str]:
        """The reasons of refused sign-ins in the audit log."""
        lines = [
            json.loads(line)
            for path in files(self.settings.state_dir / "audit")
            for line in path.read_text().splitlines()
        ]
        return [line["reason"] for line in lines if line["decision"] == "refused"]


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    with running_provider(URL + CALLBACK) as found:
        yield found


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, provider: RunningProvider
) -> Settings:
    return _settings(tmp_path_factory, valkey, provider)


def _settings(
    temporary: pytest.TempPathFactory,
    valkey: Valkey,
    provider: RunningProvider,
    client: str = "console",
    more: str = f"client-secret = '{SECRET}'",
) -> Settings:
    text = ACCESS.format(url=URL, issuer=provider.url, client=client, more=more)
    return settings_in(temporary.mktemp("oidc"), valkey.url, text)


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    with closing(client_door(settings)) as made:
        yield made


@pytest.fixture
def site(settings: Settings, app: Flask) -> Site:
    return Site(settings, app, app.test_client())


def location(answer: TestResponse) -> str:
    assert answer.status_code == 303, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.headers["Location"]


def test_a_page_learns_the_ways_to_sign_in(site: Site) -> None:
    answer = site.get("/v1/signin/methods")
    assert answer.json == {
        "methods": [
            {"kind": "key"},
            {"kind": "token"},
            {"kind": "oidc", "name": "lab", "label": "The lab", "url": URL + BEGIN},
        ]
    }
    paths = Document(site.get("/openapi.json").json).content["paths"]
    for path in ("/v1/signin/methods", "/v1/signin/oidc/{issuer}"):
        assert paths[path]["get"]["security"] == []


def test_a_person_signs_in_and_out(site: Site, provider: RunningProvider) -> None:
    began = site.begin()
    query = parse_qs(urlsplit(began).query)
    assert began.startswith(f"{provider.url}/auth?")
    assert query["redirect_uri"] == [URL + CALLBACK]
    assert query["code_challenge_method"] == ["S256"]
    back = provider.signed_in(began)
    assert site.get("/v1/me").status_code == 401
    answer = site.back(back)
    assert location(answer) == "/console?x=1#y"
    cookies = answer.headers.getlist("Set-Cookie")
    given = next(one for one in cookies if one.startswith("vfolder="))
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(given.split("; "))
    seconds = re.findall(r"Max-Age=(\d+)", given)[0]
    assert 600 < int(seconds) <= 900 + 30, "it ends with the ID token"
    assert any(re.match(r"vfolder-oidc-[^=]+=;.*Max-Age=0", one) for one in cookies)
    me = site.get("/v1/me").json
    assert me is not None
    user = uuid5(uuid5(NAMESPACE_URL, provider.url), "alice")
    assert me["subject"] == {"kind": "user", "id": str(user), "name": "alice"}
    assert len(me["groups"]) == 1
    assert me["credential"]["kind"] == "cookie"
    assert site.browser.delete("/v1/signin", base_url=URL).status_code == 403
    assert site.browser.delete("/v1/signin", base_url=URL, headers=OWN).status_code == 204
    assert site.get("/v1/me").status_code == 401


def test_the_cookie_of_a_flow_is_of_one_browser_and_hides_what_it_has(
    site: Site, provider: RunningProvider
) -> None:
    answer = site.get(BEGIN)
    given = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"} <= set(given.split("; "))
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["nonce"][0] not in given
    back = provider.signed_in(answer.headers["Location"])
    other = Site(site.settings, site.app, site.app.test_client())
    assert other.back(back).status_code == 400, "an attacker's code is of no use in a browser"
    assert location(site.back(back)) == "/console"


def test_several_windows_begin_at_once(site: Site, provider: RunningProvider) -> None:
    backs = [provider.signed_in(site.begin(f"/{n}")) for n in range(2)]
    assert [location(site.back(back)) for back in backs] == ["/0", "/1"]


def test_what_does_not_fit_is_no_sign_in(site: Site, provider: RunningProvider) -> None:
    """Each of these would be a sign-in without the consent of the provider."""
    before = len(site.reasons())
    wrong = {
        "state": lambda url: url.replace("state=", "state=x"),
        "no state": lambda url: url.replace("state=", "other="),
        "other issuer": lambda url: url.replace("oidc/lab", "oidc/other"),
        "twice": lambda url: f"{url}&code=x",
    }
    for name, change in wrong.items():
        answer = site.back(change(provider.signed_in(site.begin())))
        assert answer.status_code == (404 if name == "other issuer" else 400), name
    refused = []
    for changed in ({"nonce": "other"}, {"verifier": "x" * 43}):
        began = site.begin()
        site.replace_flow(began, **changed)
        refused.append(site.back(provider.signed_in(began)))
    back = provider.signed_in(site.begin())
    refused.append(site.back(re.sub("code=[^&]+", "code=guess", back)))
    back = provider.signed_in(site.begin())
    refused.append(site.back(re.sub("iss=[^&]+", "iss=https%3A%2F%2Fevil.example", back)))
    began = site.begin()
    cookie, flow = site.flow_of(began)
    back = provider.signed_in(began)
    assert location(site.back(back)) == "/console?x=1#y"
    assert site.back(back).status_code == 400
    site.browser.delete_cookie("vfolder", domain="localhost")
    with site.app.app_context():
        people = current_door().people
        assert people is not None
        site.browser.set_cookie(cookie, people.oidc.sealed(flow), domain="localhost")
    refused.append(site.back(back))
    ends = ["/console?x=1&signin_error=refused#y"] * 5
    assert [location(answer) for answer in refused] == ends
    assert site.get("/v1/me").status_code == 401
    assert site.reasons()[before:] == ["nonce", "code", "code", "issuer", "code"]


def test_a_refused_person_comes_back_and_reads_why(site: Site) -> None:
    began = site.begin()
    query = parse_qs(urlsplit(began).query)
    said = {"state": query["state"][0], "error": "access_denied", "iss": began.split("/auth")[0]}
    answer = site.get(f"{CALLBACK}?{urlencode(said)}")
    assert location(answer) == "/console?x=1&signin_error=denied#y"


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "", "/a b", "/a\r\nb"]
)
def test_a_browser_is_sent_nowhere_else(site: Site, to: str) -> None:
    assert site.get(f"{BEGIN}?{urlencode({'to': to})}").status_code == 400


def test_a_public_client_and_a_longer_sign_in(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, provider: RunningProvider
) -> None:
    more = "sign-in-seconds = 3000"
    settings = _settings(tmp_path_factory, valkey, provider, "public", more)
    with closing(client_door(settings)) as app:
        site = Site(settings, app, app.test_client())
        answer = site.back(provider.signed_in(site.begin()))
    assert location(answer) == "/console?x=1#y"
    given = next(one for one in answer.headers.getlist("Set-Cookie") if one.startswith("vfolder="))
    assert int(re.findall(r"Max-Age=(\d+)", given)[0]) > 2000


def test_while_the_provider_is_away_there_is_no_sign_in(
    site: Site, provider: RunningProvider
) -> None:
    back = provider.signed_in(site.begin())
    provider.stop()
    try:
        assert location(site.back(back)) == "/console?x=1&signin_error=unavailable#y"
        assert site.get("/v1/me").status_code == 401
        with closing(client_door(site.settings)) as fresh:
            assert fresh.test_client().get(BEGIN, base_url=URL).status_code == 503
    finally:
        provider.start()


# -- Programs --------------------------------------------------------------------------------------
VERIFIER = "v" * 43


def code_shown(site: Site, provider: RunningProvider, challenge: str) -> str:
    """The code that a browser shows after a sign-in for a program."""
    began = site.get(f"{BEGIN}?challenge={challenge}")
    page = site.back(provider.signed_in(location(began)))
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert not any("vfolder=" in one for one in page.headers.getlist("Set-Cookie"))
    return re.findall(r"<pre>([^<]+)</pre>", page.text)[0]


def exchanged(site: Site, code: str, verifier: str = VERIFIER) -> TestResponse:
    body = {"code": code, "verifier": verifier}
    return site.browser.post("/v1/signin/exchange", json=body, base_url=URL)


def test_a_program_takes_over_a_sign_in_once(site: Site, provider: RunningProvider) -> None:
    code = code_shown(site, provider, challenge_of(VERIFIER))
    answer = exchanged(site, code)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    key = answer.json["key"]
    with site.app.app_context():
        Document(site.get("/openapi.json").json).check(
            "POST", "/v1/signin/exchange", _plain(answer)
        )
    assert exchanged(site, code).status_code == 401, "a code is good once"
    bearer = {"Authorization": f"Bearer {key}"}
    me = site.get("/v1/me", headers=bearer).json
    assert me is not None
    assert (me["subject"]["name"], len(me["groups"])) == ("alice", 1)
    assert me["credential"]["kind"] == "cookie"
    ended = site.browser.delete("/v1/signin", base_url=URL, headers=bearer)
    assert ended.status_code == 204, "a program sends no Origin"
    wait_for(lambda: site.get("/v1/me", headers=bearer).status_code == 401)
    assert site.get("/v1/me").status_code == 401


def _plain(answer: TestResponse) -> Any:
    """The answer as the check of the document reads it."""
    headers, content = dict(answer.headers), answer.data
    return SimpleNamespace(
        status_code=answer.status_code,
        text=answer.text,
        headers=headers,
        content=content,
        json=lambda: answer.json,
    )


def test_a_code_is_of_one_program(site: Site, provider: RunningProvider) -> None:
    code = code_shown(site, provider, challenge_of(VERIFIER))
    assert exchanged(site, code, "w" * 43).status_code == 401
    assert exchanged(site, code).status_code == 401, "it has ended with the wrong verifier"
    for challenge in ("", "short", "x" * 44, f"{'x' * 42}."):
        assert site.get(f"{BEGIN}?challenge={challenge}").status_code == 400
    assert exchanged(site, "", VERIFIER).status_code == 400
    assert exchanged(site, "guess", "short").status_code == 400
    assert exchanged(site, "guess").status_code == 401
    assert site.get("/v1/me", headers={"Authorization": "Bearer vfs_guess"}).status_code == 401


def test_the_command_signs_in_by_a_browser_elsewhere(
    site: Site, provider: RunningProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    server = make_server("127.0.0.1", PORT, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        words = [sys.executable, "-m", "api.cli", "login", URL, "--oidc", "--name", "lab"]
        pipe = subprocess.PIPE
        command = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert command.stdin is not None
        assert command.stderr is not None
        address = ""
        while not address.strip().startswith("http"):
            address = command.stderr.readline()
            assert address, "the command ended"
        parts = urlsplit(address.strip())
        began = site.get(f"{parts.path}?{parts.query}")
        page = site.back(provider.signed_in(location(began)))
        code = re.findall(r"<pre>([^<]+)</pre>", page.text)[0]
        said, errors = command.communicate(f"{code}\n", timeout=60)
        assert command.returncode == 0, errors
        assert "(alice)" in said
        assert code not in said + errors
        assert (tmp_path / "vfolder/contexts.toml").read_text().count('"vfs_') == 1
        out = CliRunner().invoke(main, ["logout", "lab", "--revoke"])
        assert out.exit_code == 0, out.output
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.part("chromium")
def test_a_browser_signs_in_at_another_site_and_out(
    site: Site, provider: RunningProvider, tmp_path: Path
) -> None:
    """The cookies are those of a real browser: the way back begins at another site."""
    server = make_server("127.0.0.1", PORT, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    request = "fetch('/v1/{path}', {options}).then(r => {{ window.seen = r.status; }})"
    try:
        with browser(tmp_path / "profile") as page:
            page.open(f"{URL}{BEGIN}?to=/version")
            page.until("document.querySelector('input[name=login]') !== null")
            page.value(
                "document.querySelector('input[name=login]').value = 'alice';"
                "document.querySelector('input[name=password]').value = 'x';"
                "document.querySelector('form').submit()"
            )
            page.until("document.querySelector('input[name=prompt][value=consent]') !== null")
            page.value("document.querySelector('form').submit()")
            page.until(f"location.href === '{URL}/version'")
            assert page.value("document.cookie") == "", "scripts read neither cookie"
            for path, options, status in (
                ("me", "{}", 200),
                ("signin", "{method: 'DELETE', headers: {'X-VFolder': '1'}}", 204),
                ("signin", "{}", 401),
            ):
                page.value("window.seen = null")
                page.value(request.format(path=path, options=options))
                page.until("window.seen !== null")
                assert page.value("window.seen") == status, path
    finally:
        server.shutdown()
        thread.join()
