"""Operators' routes at the client door: what they do, and what they leave behind."""

import base64
import io
import json
import zipfile
from typing import Any
from uuid import UUID

import pytest

from core.jobs import State
from core.jobs.requests import UsageRequest
from core.jobs.store import JobStore, Submission
from core.redis import Database, connect
from tests.api.people.conftest import People, Person, grant_to, tree_of
from tests.support.node import wait_for

WHY = {"reason": "a test of it"}
ABSENT = str(UUID(int=9))


@pytest.fixture(scope="module", name="operator")
def operator_of(people: People) -> Person:
    return people.operator()


def lines(people: People, operator: Person, act: str) -> list[dict[str, Any]]:
    """The newest lines of the audit log about an act."""
    found: list[dict[str, Any]] = people.call(operator, "GET", f"/v1/audit?act={act}").json()[
        "lines"
    ]
    return found


def test_from_elsewhere_the_routes_do_not_exist(people: People, operator: Person) -> None:
    """A request that an unknown proxy passed on is not from this machine."""
    far = {"X-Forwarded-For": "192.0.2.7"}
    answers = [
        people.call(operator, "GET", "/v1/nodes", headers=far),
        people.door.send("GET", "/v1/absent", headers={**operator.headers, **far}),
    ]
    assert [one.status_code for one in answers] == [404, 404]
    bodies = [one.json() | {"request_id": "", "instance": ""} for one in answers]
    assert bodies[0] == bodies[1]
    # As a mere user, the operator sees what a user of the volume sees.
    found = people.call(operator, "GET", "/v1/volumes", headers=far).json()["volumes"]
    assert set(found[0]) == {"name", "capabilities", "paused", "pause", "capacity"}


def test_the_overview_and_the_series_say_what_is(people: People, operator: Person) -> None:
    def ready() -> dict[str, Any]:
        found: dict[str, Any] = people.call(operator, "GET", "/v1/overview").json()
        return found if found["volumes"]["ready"] and found["throughput"]["as_of"] else {}

    found = wait_for(ready, 60)
    assert found["nodes"] == {"alive": 1, "draining": 0, "silent": 0}
    assert found["volumes"]["total"] == 2
    columns = people.call(operator, "GET", "/v1/series").json()
    lengths = {len(columns[name]) for name in ("at", "received", "sent", "running", "waiting")}
    assert lengths == {len(columns["at"])}
    assert columns["at"]


def test_a_pause_has_a_reason_that_people_read(people: People, operator: Person) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "x"})
    path = "/v1/volumes/local"
    assert (
        people.call(operator, "POST", f"{path}/pause", {"reason": "new disks"}).status_code == 204
    )
    try:
        found = {
            one["name"]: one for one in people.call(owner, "GET", "/v1/volumes").json()["volumes"]
        }
        assert found["local"]["pause"]["reason"] == "new disks"
        assert found["second"]["pause"] is None
        body = {"paths": ["a.txt"]}
        job = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/delete", body).json()
        assert job["state_reason"].endswith("paused until it is resumed: new disks")
        overview = people.call(operator, "GET", "/v1/overview").json()
        assert "volume-paused" in [one["kind"] for one in overview["attention"]]
        listed = people.call(operator, "GET", f"/v1/jobs?requester={owner.word}").json()["jobs"]
        assert [one["id"] for one in listed] == [job["id"]]
        path_of_job = f"/v1/jobs/{job['id']}"
        answer = people.call(operator, "PUT", f"{path_of_job}/priority", {"priority": 1})
        assert answer.json()["priority"] == 1
        answer = people.call(operator, "POST", f"{path_of_job}/cancel", {"reason": "not now"})
        assert answer.json()["state"] == "cancelled"
    finally:
        assert people.call(operator, "POST", f"{path}/resume").status_code == 204
    assert not people.call(operator, "GET", path).json()["paused"]
    steered = lines(people, operator, "volumes.steer")[:2]
    assert [(one["target"], one.get("reason"), one["after"]) for one in steered] == [
        ("volume:local", None, "resumed"),
        ("volume:local", "new disks", "paused"),
    ]
    (line,) = [one for one in lines(people, operator, "jobs.steer") if one["job_id"] == job["id"]]
    assert line["reason"] == "not now"
    again = people.call(operator, "POST", f"/v1/jobs/{job['id']}/retry", WHY)
    assert again.json()["requester"] == owner.word
    assert people.ended(operator, again.json()["id"])["state"] == "succeeded"


def test_bandwidth_and_drain_can_be_taken_back(people: People, operator: Person) -> None:
    path, limit = "/v1/volumes/second", {"bytes_per_second": 1_000_000}
    assert people.call(operator, "PUT", f"{path}/bandwidth", limit).status_code == 204
    assert people.call(operator, "GET", path).json()["bandwidth"]["bytes_per_second"] == 1_000_000
    lifted = {"bytes_per_second": None, "reason": "enough"}
    assert people.call(operator, "PUT", f"{path}/bandwidth", lifted).status_code == 204
    line = lines(people, operator, "volumes.steer")[0]
    assert (line["before"], line["after"]) == (limit, {"bytes_per_second": None})
    node = "/v1/nodes/node1"
    assert people.call(operator, "POST", f"{node}/drain", WHY).status_code == 204
    try:
        (found,) = people.call(operator, "GET", "/v1/nodes").json()["nodes"]
        assert found["draining"]
    finally:
        assert people.call(operator, "POST", f"{node}/undrain").status_code == 204
    assert lines(people, operator, "nodes.steer")[0]["after"] == "serving"


def test_an_upload_of_others_is_listed_and_ended(people: People, operator: Person) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner)
    name = base64.b64encode(b"big.bin").decode()
    headers = {"Upload-Length": "5", "Upload-Metadata": f"relativePath {name}"}
    made = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/uploads", headers=headers)
    location = made.headers["Location"]

    def listed(caller: Person) -> list[dict[str, Any]]:
        found = people.call(caller, "GET", "/v1/uploads").json()["uploads"]
        return [one for one in found if location.endswith(one["id"])]

    (upload,) = listed(owner)
    assert (upload["path"], upload["offset"], upload["length"]) == ("big.bin", 0, 5)
    assert listed(other) == []
    assert listed(operator)[0]["subject"] == owner.word
    ended = people.call(operator, "POST", f"/v1/uploads/{upload['id']}/end", WHY)
    assert ended.status_code == 204
    assert people.call(owner, "HEAD", location).status_code == 404
    assert listed(owner) == []


def test_a_kept_vfolder_is_purged_before_its_time(people: People, operator: Person) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "x"})
    job = people.call(owner, "DELETE", f"/v1/vfolders/{vfolder.id}").json()["id"]
    assert people.ended(owner, job)["state"] == "succeeded"
    path = f"/v1/volumes/local/scopes/user:{owner.id}/trash"
    (kept,) = people.call(operator, "GET", path).json()["trash"]
    answer = people.call(operator, "POST", f"{path}/{kept['id']}/purge", {"reason": "space"})
    assert people.ended(operator, answer.json()["id"])["state"] == "succeeded"
    assert people.call(operator, "GET", path).json()["trash"] == []


def test_the_purge_rate_is_shown_set_and_lifted(people: People, operator: Person) -> None:
    def shown() -> dict[str, Any]:
        found = people.call(operator, "GET", "/v1/trash").json()["volumes"]
        (second,) = [one for one in found if one["volume"] == "second"]
        purges: dict[str, Any] = second["purges"]
        return purges

    path, limit = "/v1/volumes/second/purge-rate", {"entries_per_second": 50}
    before = shown()
    assert before == dict.fromkeys(before, None) | {"purges": 0}
    assert people.call(operator, "PUT", path, limit).status_code == 204
    assert shown() == before | limit
    lifted: dict[str, Any] = {"entries_per_second": None}
    answer = people.call(operator, "PUT", path, lifted | {"reason": "a quiet night"})
    assert answer.status_code == 204
    assert shown() == before
    line = lines(people, operator, "trash.steer")[0]
    assert (line["before"], line["after"], line["reason"]) == (limit, lifted, "a quiet night")
    assert line["target"] == "volume:second"


def test_a_rescan_is_the_source_of_orphans(people: People, operator: Person) -> None:
    answer = people.call(operator, "POST", "/v1/volumes/second/rescan", {"repair": False})
    assert people.ended(operator, answer.json()["id"])["state"] == "succeeded"
    found = people.call(operator, "GET", "/v1/orphans").json()["volumes"]
    (second,) = [one for one in found if one["volume"] == "second"]
    assert second["rescan"]["complete"]
    assert second["rescan"]["job"] == answer.json()["id"]


def test_a_volume_is_examined_and_nothing_is_changed(people: People, operator: Person) -> None:
    path = people.settings.directory / "second"
    before = tree_of(path)
    found = people.call(operator, "POST", "/v1/volumes/second/doctor").json()
    assert tree_of(path) == before
    assert (found["volume"], found["node"]) == ("second", people.settings.storage_proxy.node_id)
    checks = {one["check"]: one for one in found["checks"]}
    assert {"configuration", "mount", "capacity", "rights"} <= set(checks)
    assert checks["mount"]["status"] == "ok"
    assert found["ok"] == all(one["status"] != "wrong" for one in found["checks"])
    assert people.settings.storage_proxy.secret not in str(found)
    assert lines(people, operator, "volumes.examine")[0]["target"] == "volume:second"


def test_an_adoption_is_a_job_of_the_operator(people: People, operator: Person) -> None:
    owner = people.person()
    people.vfolder(owner)
    body = {"scope": owner.word, "limit_bytes": 1 << 20, "reason": "an old tree"}
    answer = people.call(operator, "POST", "/v1/volumes/local/adopt", body)
    assert (answer.json()["verb"], answer.json()["requester"]) == (
        "adopt",
        f"operator:{operator.id}",
    )
    # The storage system of this volume has no limits: the job says so, and nothing is changed.
    ended = people.ended(operator, answer.json()["id"])
    assert "enforces no limits" in ended["error"]["detail"]
    line = lines(people, operator, "jobs.adopt")[0]
    assert (line["reason"], line["after"]["scope"]) == ("an old tree", owner.word)


def test_what_is_odd_is_repaired_by_kind_after_a_dry_run(people: People, operator: Person) -> None:
    vfolder = people.vfolder(people.person(), "second", a="1")
    top = people.path(vfolder, "second").parents[2]
    (top / "zz" / "zz").mkdir(parents=True)
    (top / "stranger").mkdir()
    (top / ".vfolder/meta").mkdir(parents=True)
    (top / ".vfolder/meta" / UUID(int=5).hex).write_text("{}")

    def scanned(**body: Any) -> tuple[dict[str, int], dict[str, int]]:
        job = people.call(operator, "POST", "/v1/volumes/second/rescan", body).json()["id"]
        assert people.ended(operator, job)["state"] == "succeeded"
        listed = people.call(operator, "GET", "/v1/orphans").json()["volumes"]
        (last,) = [one["rescan"] for one in listed if one["volume"] == "second"]
        assert last["job"] == job
        return last["found"], last["repaired"]

    found, repaired = scanned()
    assert (found["metadata-of-nobody"], found["unknown"], repaired) == (1, 2, {})
    assert (top / ".vfolder/meta" / UUID(int=5).hex).exists()
    body = {"repair": True, "kinds": ["metadata-of-nobody"], "reason": "a test"}
    assert scanned(**body)[1] == {"metadata-of-nobody": 1}
    assert not (top / ".vfolder/meta" / UUID(int=5).hex).exists()
    assert (top / "stranger").exists()
    line = lines(people, operator, "jobs.rescan")[0]
    assert line["after"]["kinds"] == ["metadata-of-nobody"]


def test_what_is_near_its_limit_is_listed_with_its_figures(
    people: People, operator: Person
) -> None:
    owner = people.person()
    people.vfolder(owner, **{"a.bin": "x" * 95})
    limit = {"limit_bytes": 100, "volume": "local"}
    assert people.call(operator, "PUT", f"/v1/quotas/user:{owner.id}", limit).status_code == 200
    count = {"scope": f"user:{owner.id}"}
    job = people.call(operator, "POST", "/v1/volumes/local/rescan", count).json()["id"]
    assert people.ended(operator, job)["state"] == "succeeded"
    found = people.call(operator, "GET", "/v1/quota-alerts").json()["alerts"]
    (alert,) = [one for one in found if one["scope_id"] == str(owner.id)]
    assert (alert["limit_bytes"], alert["vfolder"]) == (100, None)
    assert alert["percent"] >= 90
    lifted = limit | {"limit_bytes": None}
    assert people.call(operator, "PUT", f"/v1/quotas/user:{owner.id}", lifted).status_code == 200


def test_a_user_loses_one_key(people: People, operator: Person) -> None:
    user = people.person()
    second = Person(user.id, people.new_key(user))
    found = people.call(operator, "GET", f"/v1/users/{user.id}").json()["keys"]
    assert len(found) == 2
    assert user.key not in str(found)
    key = next(one["id"] for one in found if one["id"] in second.key)
    revoke = f"/v1/users/{user.id}/keys/{key}/revoke"
    assert people.call(operator, "POST", revoke, WHY).status_code == 204
    wait_for(lambda: people.call(second, "GET", "/v1/me").status_code == 401)
    assert people.call(user, "GET", "/v1/me").status_code == 200


def test_settings_have_sources_and_no_secret(people: People, operator: Person) -> None:
    answer = people.call(operator, "GET", "/v1/settings")
    found = {one["key"]: one for one in answer.json()["settings"]}
    assert people.settings.storage_proxy.secret not in answer.text
    assert people.settings.api.manager.secret not in answer.text
    sources = {
        "storage-proxy.secret": "file",
        "vfolder.access.home": "file",
        "vfolder.access.failures-per-network": "file",
        "vfolder.access.key-days": "default",
    }
    assert {key: found[key]["source"] for key in sources} == sources
    assert not any(one["waits"] for one in found.values())


def test_a_bundle_has_no_secret_and_no_name(people: People, operator: Person) -> None:
    owner = people.person()
    with connect(people.settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        request = UsageRequest(volume="second", vfolder=str(people.vfolder(owner, "second").id))
        job = store.submit(Submission(request, requester=owner.word))
        store.refuse(job.id, json.dumps({"error_code": "x", "detail": "secret plan.txt"}))
        assert store.get(job.id).state is State.FAILED
    answer = people.call(operator, "POST", "/v1/diagnostics", {})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert len(texts) == 7
    everything = "".join(texts.values())
    for hidden in (
        people.settings.storage_proxy.secret,
        people.settings.api.manager.secret,
        str(people.settings.directory),
        str(owner.id),
        owner.id.hex,
        "secret plan",
    ):
        assert hidden not in everything
    for name, text in texts.items():
        assert name.endswith(".txt") or json.loads(text)


def known(people: People, operator: Person, query: str) -> list[dict[str, Any]]:
    """All pages of the list of people, three at a time."""
    found, cursor = list[dict[str, Any]](), ""
    while True:
        page = people.call(operator, "GET", f"/v1/people?limit=3&{query}{cursor}").json()
        found += page["people"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_all_who_are_known_are_listed_in_pages(people: People, operator: Person) -> None:
    """By a key, by a group that is kept here, or by a folder alone."""
    with_key, member, owner, grantee = people.person(), Person(), people.person(), Person()
    group = people.group(member)
    vfolder = people.vfolder(owner)
    body = {"to": grantee.word, "permission": "ro"}
    shared = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/grants", body)
    assert shared.status_code == 201, shared.text
    for volume in ("local", "second"):
        job = people.call(operator, "POST", f"/v1/volumes/{volume}/rescan", {}).json()["id"]
        people.ended(operator, job)
    found = known(people, operator, "")
    words = [f"{one['kind']}:{one['id']}" for one in found]
    assert len(set(words)) == len(words)
    assert {with_key.word, member.word, owner.word, grantee.word, f"group:{group}"} <= set(words)
    by_word = dict(zip(words, found, strict=True))
    assert (by_word[with_key.word]["keys"], by_word[member.word]["keys"]) == (1, 0)
    assert (by_word[grantee.word]["vfolders"], by_word[f"group:{group}"]["members"]) == (1, 1)
    groups = known(people, operator, "kind=group")
    assert {one["kind"] for one in groups} == {"group"}
    (one,) = known(people, operator, f"q={str(grantee.id)[:13]}")
    assert one["id"] == str(grantee.id)
    assert known(people, operator, "q=no%20name%20like%20this") == []
    for wrong in ("kind=x", "blocked=x", "cursor=x", "limit=0", f"q={'x' * 201}", "other=1"):
        assert people.call(operator, "GET", f"/v1/people?{wrong}").status_code == 400, wrong


def test_a_decision_about_another_one_is_explained(people: People, operator: Person) -> None:
    owner, user = people.person(), people.person()
    vfolder = people.vfolder(owner)
    people.grant(vfolder, grant_to(user.word, "ro"))

    def asked(person: Person, act: str) -> dict[str, Any]:
        body = {"subject": person.word, "act": act, "vfolder": f"local:{vfolder.id}"}
        answer: dict[str, Any] = people.call(operator, "POST", "/v1/access/explain", body).json()
        return answer

    assert asked(owner, "entries.purge")["allowed"]
    assert asked(user, "entries.read")["via"].startswith("grant:")
    refused = asked(user, "entries.write")
    assert (refused["allowed"], refused["reason"]) == (False, "low_permission")
    steps = {one["step"].partition(" ")[0]: one for one in refused["steps"]}
    assert (steps["owner"]["counts"], steps["grant"]["gives"]) == (False, "ro")
    assert asked(people.person(), "entries.read")["hidden"]
    line = lines(people, operator, "access.explain")[0]
    assert line["after"]["vfolder"] == f"local:{vfolder.id}"


def test_a_blocked_user_may_nothing_until_unblocked(people: People, operator: Person) -> None:
    user = people.person()
    assert people.call(user, "GET", "/v1/me").status_code == 200
    base = f"/v1/users/{user.id}"
    assert people.call(operator, "POST", f"{base}/block", WHY).json()["blocked"] is True
    wait_for(lambda: people.call(user, "GET", "/v1/me").status_code == 401)
    assert lines(people, operator, "users.manage")[0]["target"] == user.word
    assert people.call(operator, "POST", f"{base}/unblock").json()["blocked"] is False
    wait_for(lambda: people.call(user, "GET", "/v1/me").status_code == 200)
    own = f"/v1/users/{operator.id}/block"
    assert people.call(operator, "POST", own, WHY).status_code == 409


def test_an_operator_reads_content_with_a_reason_alone(people: People, operator: Person) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    base = f"/v1/vfolders/{vfolder.id}"
    content = f"{base}/content?path=a"
    assert people.call(operator, "GET", content).status_code == 404
    stranger = people.person()
    refused = [
        people.call(stranger, "POST", f"/v1/vfolders/{one}/break-glass", WHY).json()["detail"]
        for one in (vfolder.id, ABSENT)
    ]
    assert refused[0] == refused[1]
    broken = people.call(operator, "POST", f"{base}/break-glass", WHY)
    assert broken.status_code == 200, broken.text
    wait_for(lambda: people.call(operator, "GET", content).status_code == 200)
    body = {"paths": ["new"]}
    assert people.call(operator, "POST", f"{base}/directories", body).status_code == 403
    (notice,) = people.call(owner, "GET", "/v1/notices").json()["notices"]
    assert (notice["kind"], notice["reason"]) == ("break-glass", WHY["reason"])
    assert notice["expires_at"] == broken.json()["expires_at"]
    (grant,) = people.call(owner, "GET", f"{base}/grants").json()["grants"]
    assert (grant["source"], grant["expires_at"]) == ("break_glass", notice["expires_at"])
    assert people.call(owner, "DELETE", f"{base}/grants/{grant['id']}").status_code == 403
    line = lines(people, operator, "vfolders.break-glass")[0]
    assert (line["reason"], line["decision"]) == (WHY["reason"], "allowed")
