"""Keys and sign-ins at the door: made, shown once, rotated, revoked; of oneself only."""

import json
import time
from typing import Any

import pytest
import requests

from api.schemas import credentials as shapes
from core.access import Scope
from core.access.audit import files
from core.access.credentials import keys as api_keys
from core.access.permissions import PERSON_SCOPES
from tests.api.people.conftest import People, Person
from tests.support.node import wait_for

SAME_ORIGIN = {"X-VFolder": "1"}


def made(people: People, person: Person, **body: Any) -> tuple[dict[str, Any], Person]:
    """A key that a person makes, and the person with that key."""
    answer = people.call(person, "POST", "/v1/keys", {"scopes": ["files:read", "keys"], **body})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    document = answer.json()
    return document, Person(person.id, document["key"])


def status(people: People, person: Person, method: str, path: str, body: Any = None) -> int:
    return people.call(person, method, path, body).status_code


def test_a_key_is_shown_once_and_does_what_it_may(people: People) -> None:
    alice = people.person()
    document, narrow = made(people, alice, name="laptop", expires_in_days=10)
    me = people.call(narrow, "GET", "/v1/me").json()
    assert me["credential"]["id"] == document["id"]
    assert me["credential"]["scopes"] == ["files:read", "keys"]
    listed = people.call(alice, "GET", "/v1/keys")
    assert document["key"] not in listed.text
    assert {one["name"] for one in listed.json()["keys"]} == {"laptop", ""}
    changed = people.call(alice, "PATCH", f"/v1/keys/{document['id']}", {"name": "desk"})
    assert changed.json()["name"] == "desk"


@pytest.mark.parametrize(
    "more",
    [
        {"scopes": ["files:read", "files:write"]},
        {"scopes": ["files:read"], "expires_in_days": 30},
        {"scopes": ["files:read"]},
        {"scopes": ["files:read"], "expires_in_days": 5, "networks": ["0.0.0.0/0"]},
        {"scopes": ["admin:read"]},
    ],
    ids=str,
)
def test_a_key_makes_none_that_may_more(people: People, more: dict[str, Any]) -> None:
    alice = people.person()
    _, narrow = made(people, alice, expires_in_days=10, networks=["127.0.0.0/8"])
    assert status(people, narrow, "POST", "/v1/keys", more) == 403
    log = [
        json.loads(line)
        for path in files(people.settings.state_dir / "audit")
        for line in path.read_text().splitlines()
    ]
    last = [line for line in log if line.get("subject") == alice.word][-1]
    assert (last["act"], last["decision"]) == ("keys.manage", "refused")


def test_a_narrow_key_does_not_rotate_a_broad_one(people: People) -> None:
    """Its new secret would be a way to more rights."""
    alice = people.person()
    broad = api_keys.parsed(alice.key).id
    _, narrow = made(people, alice)
    assert status(people, narrow, "POST", f"/v1/keys/{broad}/rotate", {}) == 403
    assert status(people, alice, "GET", "/v1/me") == 200


def test_a_key_rotates_itself(people: People) -> None:
    alice = people.person()
    path = f"/v1/keys/{api_keys.parsed(alice.key).id}/rotate"
    with_overlap = people.call(alice, "POST", path, {}).json()
    assert with_overlap["former_ends_at"] is not None
    newer = Person(alice.id, with_overlap["key"])
    assert status(people, alice, "GET", "/v1/me") == 200
    newest = Person(
        alice.id, people.call(newer, "POST", path, {"overlap_seconds": 0}).json()["key"]
    )
    for old in (alice, newer):
        wait_for(lambda old=old: status(people, old, "GET", "/v1/me") == 401)  # type: ignore[misc] # bound now
    assert status(people, newest, "GET", "/v1/me") == 200


def test_a_revoked_key_ends_with_its_sign_ins(people: People) -> None:
    alice = people.person()
    document, other = made(people, alice)
    browser = signed_in(people, other)
    assert browser.get(f"{people.door.url}/v1/me").status_code == 200
    assert status(people, alice, "DELETE", f"/v1/keys/{document['id']}") == 204
    wait_for(lambda: status(people, other, "GET", "/v1/me") == 401)
    wait_for(lambda: browser.get(f"{people.door.url}/v1/me").status_code == 401)
    revoked = people.call(alice, "GET", "/v1/keys").json()["keys"][0]
    assert revoked["revoked_at"] is not None
    assert status(people, alice, "POST", f"/v1/keys/{document['id']}/rotate", {}) == 409


def test_keys_and_sign_ins_of_others_are_absent(people: People) -> None:
    alice, eve = people.person(), people.person()
    document, _ = made(people, alice)
    browser = signed_in(people, alice)
    sign_in = browser.get(f"{people.door.url}/v1/signin").json()["id"]
    for method, path, body in (
        ("PATCH", "/v1/keys/{}", {"name": "mine"}),
        ("DELETE", "/v1/keys/{}", None),
        ("POST", "/v1/keys/{}/rotate", {}),
        ("DELETE", "/v1/signins/{}", None),
    ):
        target = sign_in if "signins" in path else document["id"]
        answers = []
        for name in (target, "0" * 12):
            answer = people.call(eve, method, path.format(name), body)
            answers.append((answer.status_code, {**answer.json(), "request_id": ""}))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert browser.get(f"{people.door.url}/v1/me").status_code == 200


def test_a_user_has_fifty_keys(people: People) -> None:
    alice = people.person()
    for _ in range(49):
        people.new_key(alice)
    assert status(people, alice, "POST", "/v1/keys", {"scopes": ["jobs"]}) == 409


# -- The audit log ---------------------------------------------------------------------------------
def operator(people: People) -> Person:
    """An operator with a key; the tests call from loopback, where operators are."""
    found = Person()
    table = people.settings.vfolder.access
    assert table is not None
    request = api_keys.KeyRequest(scopes=tuple(Scope))
    key, found.key = api_keys.new_key(request, operator=True, table=table, now=time.time())
    people.subjects.add_key(found.id, key, table)
    return found


def test_operators_see_all_lines_and_users_their_own(people: People) -> None:
    alice, eve = people.person(), people.person()
    made(people, alice)
    made(people, eve)
    path = "/v1/audit?act=keys.manage&decision=allowed"
    own = people.call(alice, "GET", path).json()["lines"]
    assert {line["subject"] for line in own} == {alice.word}
    assert people.call(alice, "GET", f"{path}&subject={eve.word}").json() == {
        "lines": [],
        "next": None,
    }
    of_all = people.call(operator(people), "GET", path).json()["lines"]
    assert {alice.word, eve.word} <= {line["subject"] for line in of_all}
    text = json.dumps(of_all)
    assert alice.key not in text
    assert "digest" not in text


def test_pages_of_the_audit_log_follow_each_other(people: People) -> None:
    alice = people.person()
    for _ in range(3):
        made(people, alice)
    path = f"/v1/audit?act=keys.manage&subject={alice.word}"
    whole = people.call(alice, "GET", path).json()
    assert whole["next"] is None
    first = people.call(alice, "GET", f"{path}&limit=2").json()
    rest = people.call(alice, "GET", f"{path}&limit=2&cursor={first['next']}").json()
    assert [*first["lines"], *rest["lines"]] == whole["lines"]
    assert len(whole["lines"]) == 3
    for wrong in ("cursor=x", "cursor=%2B", "limit=0", "limit=1001", "nothing=1"):
        assert status(people, alice, "GET", f"/v1/audit?{wrong}") == 400, wrong


# -- Sign-ins --------------------------------------------------------------------------------------
def signed_in(people: People, person: Person) -> requests.Session:
    """A browser with the cookie of a person."""
    browser = requests.Session()
    browser.trust_env = False
    answer = browser.post(f"{people.door.url}/v1/signin", headers=person.headers, timeout=60)
    assert answer.status_code == 204, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return browser


def test_a_browser_signs_in_and_out(people: People) -> None:
    alice, url = people.person(), people.door.url
    browser = signed_in(people, alice)
    assert browser.get(f"{url}/v1/me").json()["credential"]["kind"] == "cookie"
    current = browser.get(f"{url}/v1/signin").json()
    assert current["current"]
    assert "python-requests" in current["agent"]
    other = signed_in(people, alice)
    listed = other.get(f"{url}/v1/signins").json()["sign_ins"]
    assert [one["current"] for one in listed] == [True, False]
    name = {"name": "x" * 5, "scopes": ["jobs"]}
    assert browser.post(f"{url}/v1/keys", json=name).status_code == 403, "no Origin"
    same = {**SAME_ORIGIN, "Origin": url}
    assert browser.post(f"{url}/v1/keys", json=name, headers=same).status_code == 201
    assert browser.post(f"{url}/v1/signin", headers=same).status_code == 403
    ended = browser.delete(f"{url}/v1/signin", headers=same)
    assert ended.status_code == 204
    assert not browser.cookies
    browser.cookies.set("vfolder", "made up")
    assert browser.get(f"{url}/v1/me").status_code == 401
    gone = other.delete(f"{url}/v1/signins/{listed[0]['id']}", headers=same)
    assert gone.status_code == 204
    wait_for(lambda: other.get(f"{url}/v1/me").status_code == 401)


def test_a_cookie_never_makes_a_key_with_more(people: People) -> None:
    alice = people.person()
    _, narrow = made(people, alice, expires_in_days=10, networks=["127.0.0.0/8"])
    url, browser = people.door.url, signed_in(people, narrow)
    headers = {**SAME_ORIGIN, "Origin": url}

    def asked(**body: Any) -> int:
        return browser.post(f"{url}/v1/keys", json=body, headers=headers).status_code

    assert asked(scopes=["jobs"]) == 403
    assert asked(scopes=["files:read"], expires_in_days=5) == 403, "every network"
    assert asked(scopes=["files:read"], expires_in_days=20, networks=["127.0.0.1/32"]) == 403
    assert asked(scopes=["files:read"], expires_in_days=5, networks=["127.0.0.1/32"]) == 201


def test_the_bounds_of_the_schemas_are_those_of_keys() -> None:
    assert (
        *(api_keys.NAME_MAX, api_keys.NETWORKS_MAX),
        api_keys.VFOLDERS_MAX,
    ) == (shapes.NAME_MAX, shapes.NETWORKS_MAX, shapes.VFOLDERS_MAX)
    assert set(Scope) > PERSON_SCOPES
