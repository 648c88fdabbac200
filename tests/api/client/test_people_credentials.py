"""Credentials at a client door: keys on a real volume, tokens, failures, and who gets which answer.

The API for people is not part of these tests; a route of the test's own asks for the caller.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from flask import Flask, Response
from flask.testing import FlaskClient
from msgspec import structs
from werkzeug.test import TestResponse

from api.cli import main
from api.http import answer, no_content, this_request
from api.routes import current_door, make_app
from backends.volumes.access.subjects import SubjectStore, keys_of
from core.access import Caller, Scope, Subject, SubjectRecord
from core.access.audit import files, verify
from core.access.credentials import keys
from core.access.credentials.keys import ApiKey, KeyRequest
from core.errors import AccessForbidden, Unauthenticated
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import closing, settings_in
from tests.support.issuer import AUDIENCE, NAME, SigningKey
from tests.support.node import wait_for
from tests.support.valkey import Valkey

KEY = SigningKey("one")
ACCESS = f"""
[vfolder.access]
failures = 5
origins = ["https://ui.example"]
[[vfolder.access.issuer]]
issuer = "{NAME}"
audience = "{AUDIENCE}"
algorithms = ["ES256"]
jwks-file = "keys.json"
operator-role = "storage-operator"
"""
LOOPBACK, ELSEWHERE = "127.0.0.1", "203.0.113.9"


@dataclass
class Site:
    """One process of a client door, and the keys of its users."""

    settings: Settings
    app: Flask
    client: FlaskClient
    subjects: SubjectStore

    def ask(self, credential: str, address: str = LOOPBACK, **headers: str) -> TestResponse:
        return self.client.get(
            "/who",
            headers={"Authorization": f"Bearer {credential}", **headers},
            environ_overrides={"REMOTE_ADDR": address},
        )

    def new_key(self, user: UUID, **request: object) -> tuple[ApiKey, str]:
        table = self.settings.vfolder.access
        assert table is not None
        asked = KeyRequest(**{"scopes": (Scope.FILES_READ,), **request})  # type: ignore[arg-type] # each has its own type
        key, text = keys.new_key(asked, operator=False, table=table, now=time.time())
        self.subjects.add_key(user, key, table, name="Alice")
        return key, text

    def refused(self) -> list[str]:
        """The reasons of refusals in the audit log."""
        lines = [
            json.loads(line)
            for path in files(self.settings.state_dir / "audit")
            for line in path.read_text().splitlines()
        ]
        assert all(line["decision"] == "refused" and line["request_id"] for line in lines)
        return [line["reason"] for line in lines]


@pytest.fixture
def site(tmp_path: Path, valkey: Valkey) -> Iterator[Site]:
    with valkey.client() as client:
        client.flushdb()
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY.jwk()]}))
    settings = settings_in(tmp_path, valkey.url, ACCESS)
    app = make_app("client", settings)

    @app.post("/sign-in")
    def sign_in() -> Response:
        people = current_door().people
        assert people is not None
        caller = people.credentials.caller(this_request())
        if caller.credential.kind == "cookie":
            raise AccessForbidden("no")
        made, text = people.sign_ins.begin(caller)
        response = no_content()
        seconds = made.ends_at - time.time()
        people.credentials.cookies.set(response, this_request(), text, seconds)
        return response

    @app.route("/who", methods=["GET", "POST"])
    def who() -> Response:
        people = current_door().people
        assert people is not None
        caller = people.credentials.caller(this_request())
        return answer(
            {
                "subject": caller.subject.word,
                "name": caller.subject.name,
                "groups": sorted(map(str, caller.subject.groups)),
                "credential": f"{caller.credential.kind}:{caller.credential.id}",
                "scopes": sorted(caller.credential.scopes),
                "address": caller.address,
            }
        )

    with app.app_context():
        people = current_door().people
    assert people is not None
    with closing(app):
        yield Site(settings, app, app.test_client(), people.subjects)


def test_a_door_without_the_table_has_no_people(tmp_path: Path) -> None:
    app = make_app("client", settings_in(tmp_path))
    with app.app_context():
        assert current_door().people is None


def test_a_key_says_who_asks(site: Site) -> None:
    user = uuid4()
    key, text = site.new_key(user)
    found = site.ask(text)
    assert found.status_code == 200, found.text
    assert found.json == {
        "subject": f"user:{user}",
        "name": "Alice",
        "groups": [],
        "credential": f"key:{key.id}",
        "scopes": ["files:read"],
        "address": LOOPBACK,
    }

    def used() -> str | None:
        record = site.subjects.read(user)
        return keys_of(record)[0].last_used_from if record else None

    wait_for(lambda: used() == LOOPBACK)
    secret = text.split("_")[2][:43]
    for path in (site.settings.directory / "local").rglob("*"):
        assert not path.is_file() or secret not in path.read_text("latin-1")


def test_a_token_says_who_asks(site: Site) -> None:
    found = site.ask(KEY.token(jti="t-1", groups=["/nlp"]))
    assert found.status_code == 200, found.text
    assert found.json is not None
    assert found.json["credential"] == "token:t-1"
    assert len(found.json["groups"]) == 1


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "vfk_x", "Token x"], ids=repr
)
def test_without_a_credential_the_caller_learns_how(site: Site, header: str) -> None:
    found = site.client.get("/who", headers={"Authorization": header} if header else {})
    assert found.status_code == 401
    assert found.headers["WWW-Authenticate"] == 'Bearer realm="vfolder"'
    assert found.json is not None
    assert found.json["type"] == "/problems/auth/unauthenticated"
    assert site.refused() == []


def test_a_credential_in_the_query_is_none(site: Site) -> None:
    _, text = site.new_key(uuid4())
    for name in ("access_token", "token", "key"):
        assert site.client.get("/who", query_string={name: text}).status_code == 401


def test_all_refusals_look_alike(site: Site) -> None:
    """What is wrong with a credential is in the audit log alone."""
    user = uuid4()
    key, text = site.new_key(user)
    _, abroad = site.new_key(user, networks=("198.51.100.0/24",))
    _, other = site.new_key(user)
    _, unknown = keys.new_key(
        KeyRequest(scopes=(Scope.JOBS,)), operator=False, table=site.settings.vfolder.access,  # type: ignore[arg-type] # it is on
        now=0,
    )  # fmt: skip
    site.subjects.change_key(
        user, keys.parsed(other).id, lambda k: structs.replace(k, revoked_at=1)
    )
    wrong = {
        "unknown": unknown,
        "checksum": text[:-1] + ("x" if text[-1] != "x" else "y"),
        "network": abroad,
        "revoked": other,
        "malformed": "nothing of ours",
        "signature": SigningKey("one").token(),
        "expired": KEY.token(iat=time.time() - 500, exp=time.time() - 100),
    }
    bodies = set()
    for text in wrong.values():
        found = site.ask(text)
        assert found.headers["WWW-Authenticate"] == 'Bearer realm="vfolder", error="invalid_token"'
        assert found.json is not None
        bodies.add(json.dumps({**found.json, "request_id": ""}))
    assert len(bodies) == 1
    assert site.refused() == list(wrong)
    assert key.id not in "".join(bodies)
    assert verify(site.settings.state_dir / "audit")[1] == []


def test_a_revoked_key_ends_within_a_second(site: Site) -> None:
    user = uuid4()
    key, text = site.new_key(user)
    assert site.ask(text).status_code == 200
    site.subjects.change_key(user, key.id, lambda k: structs.replace(k, revoked_at=time.time()))
    wait_for(lambda: site.ask(text).status_code == 401)


def test_a_blocked_user_has_no_credential(site: Site) -> None:
    found = site.ask(KEY.token())
    assert found.json is not None
    user = UUID(found.json["subject"].removeprefix("user:"))
    _, text = site.new_key(user)
    site.subjects.change("user", user, lambda record: structs.replace(record, blocked=True))
    assert site.ask(text).status_code == 401
    assert site.ask(KEY.token(jti="another")).status_code == 401
    assert site.refused() == ["blocked", "blocked"]


def test_groups_that_are_kept_here_count_for_keys_and_tokens(site: Site) -> None:
    user, group = uuid4(), uuid4()
    _, text = site.new_key(user)

    def with_member(record: SubjectRecord) -> SubjectRecord:
        return structs.replace(record, members_kept=True, members=(user,))

    site.subjects.change("group", group, with_member)
    for credential in (text, KEY.token(sub=str(user))):
        found = site.ask(credential)
        assert found.json is not None
        assert found.json["groups"] == [str(group)]


def test_guesses_make_their_network_pause_and_no_other(site: Site) -> None:
    _, text = site.new_key(uuid4())
    wrong = text[:-1] + ("x" if text[-1] != "x" else "y")
    for _ in range(5):
        assert site.ask(wrong, ELSEWHERE).status_code == 401
    found = site.ask(text, ELSEWHERE)
    assert found.status_code == 429, "a right key is no way to find out"
    assert int(found.headers["Retry-After"]) in (1, 2)
    assert found.json is not None
    assert found.json["type"] == "/problems/auth/throttled"
    assert site.ask(text).status_code == 200, "the user elsewhere is not locked out"
    assert len(site.refused()) == 5, "a caller that pauses fills no log"


def test_the_address_of_the_outermost_trusted_proxy_counts(site: Site, tmp_path: Path) -> None:
    from api.http.credentials import caller_address  # noqa: PLC0415 - this test alone

    forged = "198.51.100.7, 203.0.113.9"
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": forged}
    assert caller_address(environ, 0) == "10.0.0.1", "none is trusted"
    assert caller_address(environ, 1) == "203.0.113.9"
    assert caller_address(environ, 2) == "198.51.100.7"
    assert caller_address(environ, 3) == "10.0.0.1"
    assert caller_address({**environ, "HTTP_X_FORWARDED_FOR": "junk"}, 1) == "10.0.0.1"
    found = site.ask(KEY.token(), ELSEWHERE, **{"X-Forwarded-For": LOOPBACK})
    assert found.json is not None
    assert found.json["address"] == ELSEWHERE


def test_operators_are_operators_in_their_networks(site: Site) -> None:
    token = KEY.token(realm_access={"roles": ["storage-operator"]})
    here, away = site.ask(token).json, site.ask(token, ELSEWHERE).json
    assert here is not None
    assert away is not None
    assert here["subject"].startswith("operator:")
    assert "admin:read" in here["scopes"]
    assert away["subject"].startswith("user:")
    assert "admin:read" not in away["scopes"]


def test_init_makes_one_operator_key(site: Site) -> None:
    run = CliRunner()
    arguments = ["access", "init", "--config", site.settings.origin]
    made = run.invoke(main, arguments)
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert re.fullmatch(r"vfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", text), "and nothing else"
    assert text[4:16] in (files(site.settings.state_dir / "audit")[0]).read_text()
    found = site.ask(text)
    assert found.json is not None
    assert found.json["subject"].startswith("operator:")
    assert "admin:write" in found.json["scopes"]
    again = run.invoke(main, arguments)
    assert again.exit_code == 1
    assert "--another" in again.stderr
    assert run.invoke(main, [*arguments, "--another"]).exit_code == 0


def test_the_first_key_of_a_user_is_made_on_a_node(site: Site) -> None:
    run, user = CliRunner(), str(uuid4())
    arguments = ["access", "user", "alice", "--config", site.settings.origin]
    made = run.invoke(main, [*arguments, "--id", user, "--scope", "files:read"])
    assert made.exit_code == 0, made.output
    assert f"alice is user:{user}." in made.stderr
    found = site.ask(made.stdout.strip())
    assert found.json is not None
    assert (found.json["subject"], found.json["scopes"]) == (f"user:{user}", ["files:read"])
    other = site.ask(run.invoke(main, arguments).stdout.strip()).json
    assert other is not None
    assert other["subject"] not in ("", f"user:{user}")
    assert "admin:read" not in other["scopes"]
    assert run.invoke(main, [*arguments, "--scope", "admin:read"]).exit_code == 2


def test_the_store_may_be_away(site: Site, valkey: Valkey) -> None:
    """Keys and tokens are proved by files; failures are counted by the process."""
    user = uuid4()
    _, text = site.new_key(user)
    valkey.kill()
    try:
        assert site.ask(text).status_code == 200
        assert site.ask(KEY.token()).status_code == 200
        for _ in range(5):
            assert site.ask("vfk_wrong", ELSEWHERE).status_code == 401
        assert site.ask("vfk_wrong", ELSEWHERE).status_code == 429
    finally:
        valkey.start()


def test_an_unknown_id_takes_the_same_steps_as_a_known_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = site.new_key(uuid4())
    steps: list[object] = []
    access = site.subjects._access
    counted = access.on_volume
    monkeypatch.setattr(access, "on_volume", lambda *a: (steps.append(a[1]), counted(*a))[1])
    for key_id, known in ((key.id, True), ("0" * 12, False)):
        site.subjects.held_key(key.id)  # the index is there
        steps.clear()
        assert (site.subjects.held_key(key_id) is not None) == known
        assert len(steps) == 1, key_id


def test_a_broken_chain_is_found_by_the_command(site: Site) -> None:
    for _ in range(3):
        site.ask("wrong")
    arguments = ["access", "audit", "verify", "--config", site.settings.origin]
    assert CliRunner().invoke(main, arguments).output == "3 lines, no line is broken.\n"
    (path,) = files(site.settings.state_dir / "audit")
    path.write_bytes(path.read_bytes().replace(b"malformed", b"malformeD", 1))
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 1
    assert f"{path.name}:2: does not follow" in found.output


def test_other_processes_see_a_new_key_at_once(site: Site, valkey: Valkey) -> None:
    user = uuid4()
    site.new_key(user)
    with connect(site.settings, Database.LIVE) as client:
        other = SubjectStore(
            "local", [site.settings.storage_proxy.secret], site.subjects._access, client
        )
        key, _ = site.new_key(user)
        held = other.held_key(key.id)
        assert held is not None
        later, _ = site.new_key(user)
        assert other.held_key(later.id) is not None
        assert other.held_key("0" * 12) is None


# -- Sign-ins ----------------------------------------------------------------------------------
LOCAL = {"base_url": "http://localhost"}
OWN = {"Origin": "http://localhost", "X-VFolder": "1"}


def signed_in(site: Site, credential: str) -> TestResponse:
    return site.client.post("/sign-in", headers={"Authorization": f"Bearer {credential}"}, **LOCAL)


def test_a_cookie_stands_for_what_made_it(site: Site) -> None:
    user = uuid4()
    key, text = site.new_key(user)
    answered = signed_in(site, text)
    assert answered.status_code == 204, answered.text
    cookie = answered.headers["Set-Cookie"]
    assert re.match(r"vfolder=[\w-]{43}; ", cookie), "plain on loopback"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    found = site.client.get("/who", **LOCAL)
    assert found.json is not None
    assert found.json["subject"] == f"user:{user}"
    assert found.json["credential"].startswith("cookie:")
    assert found.json["scopes"] == ["files:read"]
    secret = cookie.partition("=")[2].partition(";")[0]
    with connect(site.settings, Database.LIVE) as client:
        names = list(client.scan_iter("*sign*"))
        assert names
        assert not any(secret in name or secret in str(client.type(name)) for name in names)
        assert all(client.pttl(name) > 0 for name in names)
    site.subjects.change_key(user, key.id, lambda k: structs.replace(k, revoked_at=time.time()))
    wait_for(lambda: site.client.get("/who", **LOCAL).status_code == 401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 200),
        ({"Origin": "https://ui.example", "X-VFolder": "1"}, 200),
        ({"Origin": "http://localhost"}, 403),
        ({"X-VFolder": "1"}, 403),
        ({"Origin": "https://evil.example", "X-VFolder": "1"}, 403),
        ({"Origin": "https://localhost", "X-VFolder": "1"}, 403),
        ({"Origin": "http://localhost.evil.example", "X-VFolder": "1"}, 403),
        ({"Origin": "null", "X-VFolder": "1"}, 403),
        ({**OWN, "X-VFolder": "0"}, 403),
        ({}, 403),
    ],
    ids=str,
)
def test_pages_of_others_change_nothing_with_a_cookie(
    site: Site, headers: dict[str, str], status: int
) -> None:
    signed_in(site, site.new_key(uuid4())[1])
    assert site.client.post("/who", headers=headers, **LOCAL).status_code == status


def test_what_a_proxy_passes_on_unasked_is_not_from_this_machine(site: Site) -> None:
    """A proxy that the settings do not name calls from loopback, however far the caller is."""
    user = Subject(kind="user", id=uuid4())
    token = KEY.token(sub=str(user.id), realm_access={"roles": ["storage-operator"]})
    near = site.ask(token).json
    assert near is not None
    assert near["subject"].startswith("operator:")
    for _ in range(2):
        passed_on = site.ask(token, **{"X-Forwarded-For": "198.51.100.7"}).json
        assert passed_on is not None
        assert passed_on["subject"].startswith("user:")
        assert Scope.ADMIN_READ not in passed_on["scopes"]
    _, text = site.new_key(uuid4())
    sign_in = {"Authorization": f"Bearer {text}", "X-Forwarded-For": "198.51.100.7"}
    assert site.client.post("/sign-in", headers=sign_in, **LOCAL).status_code == 400


def test_a_credential_in_the_header_needs_no_origin(site: Site) -> None:
    _, text = site.new_key(uuid4())
    signed_in(site, text)
    found = site.client.post("/who", headers={"Authorization": f"Bearer {text}"}, **LOCAL)
    assert found.status_code == 200
    assert found.json is not None
    assert found.json["credential"].startswith("key:")


def test_a_sign_in_by_token_ends_with_the_token_and_never_grows(site: Site) -> None:
    ends = int(time.time()) + 100
    answered = signed_in(site, KEY.token(exp=ends, groups=["/nlp"]))
    found = site.client.get("/who", **LOCAL).json
    assert found is not None
    assert len(found["groups"]) == 1
    seconds = int(re.findall(r"Max-Age=(\d+)", answered.headers["Set-Cookie"])[0])
    assert 90 < seconds <= 100 + 30  # the token is valid for its leeway beyond its end
    assert signed_in(site, "wrong").status_code == 401
    cookie_alone = site.client.post("/sign-in", headers=OWN, **LOCAL)
    assert cookie_alone.status_code == 403, "a cookie makes no other cookie"


def test_a_cookie_is_secure_or_there_is_none(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.new_key(uuid4())[1]}"}
    away = {"REMOTE_ADDR": ELSEWHERE}
    plain = site.client.post("/sign-in", headers=headers, environ_overrides=away)
    assert plain.status_code == 400
    assert "https" in plain.text
    secure = site.client.post(
        "/sign-in", headers=headers, base_url="https://files.example", environ_overrides=away
    )
    cookie = secure.headers["Set-Cookie"]
    assert cookie.startswith("__Host-vfolder=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_sign_ins_are_listed_and_ended(site: Site) -> None:
    _, text = site.new_key(uuid4())
    signed_in(site, text)
    signed_in(site, text)
    with site.app.app_context():
        people = current_door().people
    assert people is not None
    found = site.client.get("/who", **LOCAL)
    assert found.json is not None
    subject = Subject(kind="user", id=UUID(found.json["subject"].removeprefix("user:")))
    newest, oldest = people.sign_ins.of(subject)
    assert newest.created_at >= oldest.created_at
    assert found.json["credential"] == f"cookie:{newest.id}"
    other = Subject(kind="user", id=uuid4())
    assert not people.sign_ins.end(other, newest.id), "another user's id ends nothing"
    assert people.sign_ins.end(subject, newest.id)
    assert not people.sign_ins.end(subject, newest.id)
    wait_for(lambda: site.client.get("/who", **LOCAL).status_code == 401)
    assert [one.id for one in people.sign_ins.of(subject)] == [oldest.id]


@pytest.mark.parametrize("made_by", ["key", "token"])
@pytest.mark.parametrize("ended", ["sign-in", "user"])
def test_an_open_stream_by_cookie_ends_with_its_sign_in(
    site: Site, made_by: str, ended: str
) -> None:
    """Streams ask for their caller again and again."""
    user = uuid4()
    credential = site.new_key(user)[1] if made_by == "key" else KEY.token(sub=str(user))
    signed_in(site, credential)
    found = site.client.get("/who", **LOCAL)
    assert found.json is not None
    sign_in = found.json["credential"].removeprefix("cookie:")
    with site.app.test_request_context():
        service, people = current_door().access, current_door().people
        assert people is not None
        subject = Subject(kind="user", id=user)
        made = people.sign_ins.named(subject, sign_in)
        assert made is not None
        caller = Caller(subject=subject, credential=made.facts)
        assert service.again(caller).credential.kind == "cookie"
        if ended == "sign-in":
            people.sign_ins.end(subject, sign_in)
        else:
            people.subjects.change("user", user, lambda r: structs.replace(r, blocked=True))
        with pytest.raises(Unauthenticated):
            service.again(caller)


def test_without_its_store_a_cookie_proves_nothing(site: Site, valkey: Valkey) -> None:
    signed_in(site, site.new_key(uuid4())[1])
    valkey.kill()
    try:
        found = site.client.get("/who", **LOCAL)
        assert found.status_code == 503
        assert found.json is not None
        assert found.json["type"] == "/problems/auth/unavailable"
    finally:
        valkey.start()
