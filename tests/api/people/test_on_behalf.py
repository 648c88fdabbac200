"""The manager asks on behalf of a user: decided as for that user, or refused; never ignored."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from api import app
from api.routes import parameters
from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to, tree_of
from tests.api.people.test_waiting_jobs import at_rest, blocked, without_members
from tests.support.doors import AUTH, RunningDoor, closing, running_door, settings_in
from tests.support.node import wait_for

HEADER = parameters.ON_BEHALF_OF.name
WEEK_SECONDS = 604_800
#: A file that lasts longer than a right that is lost, for a reader that pauses after each piece.
BIG_BYTES, READ_PAUSE_SECONDS = 64 << 30, 0.05
PERMISSIONS = ("none", "ro", "rw", "rwd", "owner")
#: Makes the body of a request from a vfolder and the one who asks.
Body = Callable[[VFolderId, Person], dict[str, Any]]


@pytest.fixture(scope="module")
def manager(people: People) -> Iterator[RunningDoor]:
    with running_door("manager", people.settings) as door:
        yield door


def ask(
    manager: RunningDoor, who: Person | str, method: str, path: str, body: Any = None, **more: Any
) -> requests.Response:
    """One request on behalf of a user; its answer is checked against the document."""
    word = who if isinstance(who, str) else who.word
    return manager.call(method, path, body, headers={HEADER: word}, **more)


def at(vfolder: VFolderId, **more: Any) -> dict[str, Any]:
    return {"volume": "local", "vfid": str(vfolder), **more}


def job(verb: str, vfolder: VFolderId, **more: Any) -> dict[str, Any]:
    return {"verb": verb, "volume": "local", "vfolder": str(vfolder), **more}


def _own(person: Person) -> str:
    return f"user:{person.id}/{uuid4()}"


#: The least permission for each kind of route.
CASES: dict[str, tuple[str, str, str, Body]] = {
    "list": ("ro", "POST", "/folder/file/list", lambda v, _: at(v, relpath=".")),
    "fetch": ("ro", "POST", "/folder/file/fetch", lambda v, _: at(v, relpath="a")),
    "usage": ("ro", "GET", "/folder/usage", lambda v, _: at(v)),
    "used bytes": ("ro", "GET", "/folder/used-bytes", lambda v, _: at(v)),
    "download": ("ro", "POST", "/folder/file/download", lambda v, _: at(v, relpath="a")),
    "archive": (
        "ro",
        "POST",
        "/folder/file/archive-download-token",
        lambda v, _: {"volume": "local", "virtual_folder_id": str(v), "files": ["a"]},
    ),
    "upload": ("rw", "POST", "/folder/file/upload", lambda v, _: at(v, relpath="n", size=3)),
    "mkdir": ("rw", "POST", "/folder/file/mkdir", lambda v, _: at(v, relpath="d")),
    "rename": ("rw", "POST", "/folder/file/rename", lambda v, _: at(v, relpath="a", new_name="c")),
    "move": (
        "rw",
        "POST",
        "/folder/file/move",
        lambda v, _: at(v, src_relpath="a", dst_relpath="c"),
    ),
    "remove": ("owner", "POST", "/folder/file/delete", lambda v, _: at(v, relpaths=["a"])),
    "remove later": (
        "owner",
        "POST",
        "/folder/file/delete-async",
        lambda v, _: at(v, relpaths=["a"]),
    ),
    "delete": ("owner", "POST", "/folder/delete", lambda v, _: at(v)),
    "clone": (
        "ro",
        "POST",
        "/folder/clone",
        lambda v, who: {
            "src_volume": "local",
            "src_vfid": str(v),
            "dst_volume": "local",
            "dst_vfid": _own(who),
        },
    ),
    "count by a job": ("ro", "POST", "/v1/jobs", lambda v, _: job("usage", v)),
    "remove to the trash": (
        "rwd",
        "POST",
        "/v1/jobs",
        lambda v, _: job("delete-files", v, paths=["a"], keep_seconds=WEEK_SECONDS),
    ),
    "remove for good": (
        "owner",
        "POST",
        "/v1/jobs",
        lambda v, _: job("delete-files", v, paths=["a"]),
    ),
    "plan": ("owner", "POST", "/v1/jobs", lambda v, _: job("delete", v, plan=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_route_is_decided_as_for_the_user(
    people: People, manager: RunningDoor, case: str
) -> None:
    least, method, path, body = CASES[case]
    wrong = []
    for permission in PERMISSIONS:
        owner, who = people.person(), people.person()
        who = owner if permission == "owner" else who
        vfolder = people.vfolder(owner, a="1", b="2")
        if permission not in ("none", "owner"):
            people.grant(vfolder, grant_to(who.word, permission))
        before = tree_of(people.path(vfolder))
        allowed = PERMISSIONS.index(permission) >= PERMISSIONS.index(least)
        answer = ask(manager, who, method, path, body(vfolder, who))
        if answer.ok != allowed or (not answer.ok and tree_of(people.path(vfolder)) != before):
            wrong.append(f"{permission}: {answer.status_code} {answer.text}")
        expected = 404 if permission == "none" else 403
        if not allowed and answer.status_code != expected:
            wrong.append(f"{permission}: {answer.status_code}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_what_is_hidden_looks_as_if_it_were_absent(people: People, manager: RunningDoor) -> None:
    owner, other = people.person(), people.person()
    absent = VFolderId(people.vfolder(owner).scope, uuid4())
    there = people.vfolder(owner, a="1")
    for method, path, body in (case[1:] for case in CASES.values()):
        answers = [ask(manager, other, method, path, body(one, other)) for one in (absent, there)]
        assert [one.status_code for one in answers] == [404, 404], path
        texts = [one.json() | {"request_id": "", "instance": ""} for one in answers]
        assert texts[0] == texts[1], path


def test_both_ends_of_a_transfer_count(people: People, manager: RunningDoor) -> None:
    owner, who = people.person(), people.person()
    source, target, hidden = (people.vfolder(owner, a="1") for _ in range(3))
    people.grant(source, grant_to(who.word, "rwd"))
    people.grant(target, grant_to(who.word, "ro"))

    def asked(to: VFolderId, **more: Any) -> requests.Response:
        ends = {"volume": "local", "source": str(source), "target": str(to)}
        more = {"verb": "transfer", "target_path": "in", **ends, **more}
        return ask(manager, who, "POST", "/v1/jobs", more)

    assert [asked(to).status_code for to in (target, hidden)] == [403, 404]
    people.grant(target, grant_to(who.word, "rw"))
    wait_for(lambda: asked(target, plan=True).status_code == 200)
    moved = asked(target, remove_source=True)
    assert (moved.status_code, moved.json()["needed"]) == (403, "owner")
    answer = asked(target, remove_source=True, keep_seconds=WEEK_SECONDS)
    assert answer.json()["requester"] == who.word
    assert people.ended(who, answer.json()["id"])["state"] == "succeeded"
    assert (people.path(target) / "in" / "a").read_text() == "1"


def test_no_file_is_replaced_without_the_right_to_remove(
    people: People, manager: RunningDoor
) -> None:
    owner, writer, remover = (people.person() for _ in range(3))
    vfolder = people.vfolder(owner, a="1", b="2")
    people.grant(vfolder, grant_to(writer.word, "rw"), grant_to(remover.word, "rwd"))
    for path, body in (
        ("/folder/file/rename", at(vfolder, relpath="a", new_name="b")),
        ("/folder/file/move", at(vfolder, src_relpath="a", dst_relpath="b")),
    ):
        assert ask(manager, writer, "POST", path, body).status_code == 400
        assert (people.path(vfolder) / "b").read_text() == "2"
    assert ask(manager, remover, "POST", path, body).status_code == 204
    assert (people.path(vfolder) / "b").read_text() == "1"


def test_vfolders_are_made_where_the_user_may(people: People, manager: RunningDoor) -> None:
    who, admin = people.person(), people.person()
    group = people.group(who, admin, admins=(admin,))
    path, in_group = "/folder/create", f"project:{group}/{uuid4()}"

    def made(one: Person, vfid: str, **more: Any) -> int:
        return ask(
            manager, one, "POST", path, {"volume": "local", "vfid": vfid, **more}
        ).status_code

    assert made(who, _own(who)) == 204
    assert made(who, _own(admin)) == 404
    wait_for(lambda: made(who, in_group) == 403)
    assert made(admin, in_group) == 204
    limit = {"options": {"initial_max_size_for_quota_scope": 10**9}}
    assert made(admin, _own(admin), **limit) == 403


def test_quota_scopes_are_those_of_the_user(people: People, manager: RunningDoor) -> None:
    who, other = people.person(), people.person()
    for one in (who, other):
        people.vfolder(one)

    def look(scope: str) -> int:
        body = {"volume": "local", "qsid": scope}
        return ask(manager, who, "GET", "/quota-scope", body).status_code

    assert [look(f"user:{one.id}") for one in (who, other)] == [200, 404]
    assert look(f"user:{uuid4()}") == 404


def test_the_jobs_of_others_are_absent(people: People, manager: RunningDoor) -> None:
    owner, who = people.person(), people.person()
    mine, theirs = people.vfolder(who, a="1"), people.vfolder(owner, a="1")
    with at_rest(people):
        own = ask(manager, who, "POST", "/v1/jobs", job("usage", mine)).json()
        other = manager.call("POST", "/v1/jobs", job("usage", theirs)).json()
        assert (own["requester"], other["requester"]) == (who.word, "manager")
        listed = ask(manager, who, "GET", "/v1/jobs").json()["jobs"]
        assert [one["id"] for one in listed] == [own["id"]]
        filtered = ask(manager, who, "GET", f"/v1/jobs?requester={owner.word}")
        assert filtered.status_code == 400
        for method, action in (
            ("GET", ""),
            ("GET", "/log"),
            ("POST", "/pause"),
            ("POST", "/cancel"),
        ):
            found = [
                ask(manager, who, method, f"/v1/jobs/{one['id']}{action}").status_code
                for one in (own, other)
            ]
            assert found == [200 if method == "GET" else 202, 404], action
        assert manager.call("GET", f"/v1/jobs/{other['id']}").json()["done"] is False
    assert people.ended(who, own["id"])["state"] == "cancelled"
    again = ask(manager, who, "POST", f"/v1/jobs/{own['id']}/retry").json()
    assert (again["requester"], again["retry_of"]) == (who.word, own["id"])
    assert people.ended(who, again["id"])["state"] == "succeeded"
    events = ask(manager, who, "GET", f"/v1/jobs/{again['id']}/events").text
    assert "event: done" in events


def test_a_job_is_decided_again_at_its_claim(people: People, manager: RunningDoor) -> None:
    owner, kept, lost, out, member = (people.person() for _ in range(5))
    group = people.group(member)
    words = {kept.word: kept, lost.word: lost, out.word: out, f"group:{group}": member}
    vfolders = {word: people.vfolder(owner, a="1") for word in words}
    for word, vfolder in vfolders.items():
        people.grant(vfolder, grant_to(word, "rwd"))
    jobs = {}
    with at_rest(people):
        for word, vfolder in vfolders.items():
            wanted = job("delete-files", vfolder, paths=["a"], keep_seconds=WEEK_SECONDS)

            def accepted(word: str = word, wanted: dict[str, Any] = wanted) -> str:
                answer = ask(manager, words[word], "POST", "/v1/jobs", wanted)
                return str(answer.json()["id"]) if answer.status_code == 202 else ""

            jobs[word] = wait_for(accepted)  # a membership is seen a moment after it was made
        people.grant(vfolders[lost.word], grant_to(lost.word, "ro"))
        people.subjects.change("user", out.id, blocked)
        people.subjects.change("group", group, without_members)
    ended = {word: people.ended(owner, one) for word, one in jobs.items()}
    assert ended.pop(kept.word)["state"] == "succeeded"
    for word, one in ended.items():
        assert one["error"]["error_code"] == "auth_execute_unauthorized", word
        assert (people.path(vfolders[word]) / "a").exists(), word


def _claims(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return found


def test_a_ticket_ends_with_the_right_of_its_user(people: People, manager: RunningDoor) -> None:
    owner, guest, member = (people.person() for _ in range(3))
    group = people.group(member)
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(guest.word, "ro"), grant_to(f"group:{group}", "ro"))
    body = at(vfolder, relpath="a")

    def ticket(who: Person | None) -> str:
        headers = {HEADER: who.word} if who else {}
        answer = manager.call("POST", "/folder/file/download", body, headers=headers)
        return str(answer.json().get("token", ""))

    def read(token: str) -> int:
        return people.call(None, "GET", f"/download?token={token}").status_code

    tokens = [ticket(guest), wait_for(lambda: ticket(member)), ticket(None)]
    assert _claims(tokens[0])["person"]["sub"] == guest.word
    assert "person" not in _claims(tokens[2])
    assert [read(token) for token in tokens] == [200, 200, 200]
    people.subjects.change("group", group, without_members)
    wait_for(lambda: read(tokens[1]) == 404)
    people.grant(vfolder)
    wait_for(lambda: read(tokens[0]) == 404)
    assert read(tokens[2]) == 200  # the manager's


def read_slowly(answer: requests.Response) -> None:
    for _ in answer.iter_content(1 << 20):
        time.sleep(READ_PAUSE_SECONDS)


@pytest.mark.slow
def test_a_long_answer_ends_with_the_membership(people: People, manager: RunningDoor) -> None:
    owner, member = people.person(), people.person()
    group = people.group(member)
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(f"group:{group}", "ro"))
    with (people.path(vfolder) / "big").open("wb") as file:
        file.truncate(BIG_BYTES)
    headers, body = {HEADER: member.word}, at(vfolder, relpath="big")
    with at_rest(people):
        waits = manager.call("POST", "/v1/jobs", job("usage", vfolder)).json()["id"]
        events = f"/v1/jobs/{waits}/events"

        def opened(method: str, path: str, sent: Any = None) -> requests.Response:
            return manager.send(method, path, headers=headers, json=sent, stream=True)

        path = events.removesuffix("/events")
        wait_for(lambda: ask(manager, member, "GET", path).status_code == 200)
        with opened("GET", events) as news, opened("POST", "/folder/file/fetch", body) as big:
            assert (news.status_code, big.status_code) == (200, 200)
            people.subjects.change("group", group, without_members)
            with pytest.raises(requests.RequestException):  # it is cut off, not ended
                read_slowly(big)
            assert "event: gone" in news.text
        assert opened("GET", events).status_code == 404


def test_unmanaged_paths_are_no_users(people: People, manager: RunningDoor) -> None:
    who = people.person()
    vfolder = people.vfolder(who, a="1")
    body = at(vfolder, relpath="a", unmanaged_path=str(people.path(vfolder)))
    assert ask(manager, who, "POST", "/folder/file/download", body).status_code == 403
    listed = {"volume": "noop", "vfid": str(vfolder), "relpath": "."}
    assert ask(manager, who, "POST", "/folder/file/list", listed).status_code == 404


def test_a_blocked_user_may_nothing(people: People, manager: RunningDoor) -> None:
    who = people.person()
    vfolder = people.vfolder(who, a="1")
    people.subjects.change("user", who.id, blocked)
    body = at(vfolder, relpath=".")
    wait_for(lambda: ask(manager, who, "POST", "/folder/file/list", body).status_code == 403)
    assert ask(manager, who, "GET", "/v1/jobs").status_code == 403


def test_only_the_owner_restores_from_the_trash(people: People, manager: RunningDoor) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(other.word, "rwd"))
    wanted = job("delete", vfolder, keep_seconds=WEEK_SECONDS)
    deletion = ask(manager, owner, "POST", "/v1/jobs", wanted).json()["id"]
    assert people.ended(owner, deletion)["state"] == "succeeded"
    restored = job("restore", vfolder, trash=deletion)
    assert ask(manager, other, "POST", "/v1/jobs", restored).status_code == 404
    unnamed = ask(manager, owner, "POST", "/v1/jobs", job("restore", vfolder))
    assert (unnamed.status_code, "trash" in unnamed.json()["detail"]) == (400, True)
    again = ask(manager, owner, "POST", "/v1/jobs", restored).json()
    assert people.ended(owner, again["id"])["state"] == "succeeded"
    assert (people.path(vfolder) / "a").read_text() == "1"


def test_what_no_user_requests_is_refused(people: People, manager: RunningDoor) -> None:
    who = people.person()
    vfolder = people.vfolder(who, a="1")
    for wanted in ({"verb": "rescan", "volume": "local"}, job("usage", vfolder, priority=9)):
        assert ask(manager, who, "POST", "/v1/jobs", wanted).status_code == 403, wanted


def test_each_other_route_refuses_the_header(people: People, manager: RunningDoor) -> None:
    document = manager.send("GET", "/openapi.json").json()["paths"]
    taken = {
        (method.upper(), path.replace("{", "<").replace("}", ">"))
        for path, item in document.items()
        for method, operation in item.items()
        if "x-on-behalf-of" in operation
    }
    headers = {HEADER: people.person().word}
    wrong = []
    refused = 0
    with closing(app.manager_door(people.settings)) as door:
        rules = [rule for rule in door.url_map.iter_rules() if rule.endpoint != "static"]
    for rule in rules:
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if (method, rule.rule) in taken:
                taken.remove((method, rule.rule))
                continue
            filled = rule.rule
            for name in rule.arguments:
                filled = filled.replace(f"<{name}>", "local").replace(f"<path:{name}>", "local")
            answer = manager.send(method, filled, headers=headers, json={})
            refused += 1
            if answer.status_code != 403 or HEADER not in answer.text:
                wrong.append(f"{method} {rule.rule}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert not taken
    assert refused > 40


def test_a_malformed_header_is_refused(people: People, manager: RunningDoor) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    body = at(vfolder, relpaths=["a"])
    words = ("", "user:", str(owner.id), f"group:{owner.id}", f"user:{owner.id.hex}", "manager")
    for word in (*words, f"{owner.word}, {owner.word}", f"{owner.word} x", "user:*"):
        answer = ask(manager, word, "POST", "/folder/file/delete", body)
        assert (answer.status_code, HEADER in answer.json()["detail"]) == (400, True), word
    assert (people.path(vfolder) / "a").exists()


def test_the_secret_comes_first(people: People, manager: RunningDoor) -> None:
    owner = people.person()
    body = at(people.vfolder(owner, a="1"), relpath=".")
    name = next(iter(AUTH))
    for word in (owner.word, "malformed"):
        for secret in ("wrong", owner.key):
            headers = {HEADER: word, name: secret}
            answer = manager.call("POST", "/folder/file/list", body, headers=headers)
            assert (answer.status_code, HEADER in answer.text) == (403, False)


def test_without_people_the_header_is_refused(tmp_path: Path) -> None:
    with closing(app.manager_door(settings_in(tmp_path))) as door:
        client = door.test_client()
        headers = {**AUTH, HEADER: f"user:{uuid4()}"}
        for method, path in (("GET", "/volumes"), ("POST", "/folder/create"), ("GET", "/v1/jobs")):
            answer = client.open(path, method=method, headers=headers, json={})
            assert answer.status_code == 400
            assert "[vfolder.access]" in answer.get_json()["detail"]
    assert HEADER not in json.dumps(client.get("/openapi.json").get_json())


def test_the_audit_line_names_both(people: People, manager: RunningDoor) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(other.word, "ro"))
    body = at(vfolder, relpath="d")
    assert ask(manager, owner, "POST", "/folder/file/mkdir", body).status_code == 200
    assert ask(manager, other, "POST", "/folder/file/mkdir", body).status_code == 403
    assert ask(manager, owner, "POST", "/v1/jobs", job("usage", vfolder)).status_code == 202
    assert ask(manager, owner, "POST", "/folder/file/list", at(vfolder, relpath=".")).ok

    def lines(who: Person) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = people.call(who, "GET", "/v1/audit").json()["lines"]
        return found

    wait_for(lambda: len(lines(owner)) == 3)  # that of the list comes a moment later
    assert {line["act"] for line in lines(owner)} == {
        "entries.write",
        "jobs.usage",
        "entries.read",
    }
    (refused,) = lines(other)
    assert (refused["decision"], refused["need"], refused["have"]) == ("refused", "rw", "ro")
    for who in (owner, other):
        for line in lines(who):
            assert (line["subject"], line["on_behalf_of"]) == ("manager", who.word)
            assert line["credential"] == "secret:manager"
            assert line["vfolder"] == f"local:{vfolder.id}"
