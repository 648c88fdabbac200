"""A job that waits is decided again when its run begins: refused then, it fails without effect."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from msgspec import structs

from api.jobs.doorbell import ringer
from core.access import SubjectRecord
from core.jobs.store import JobStore
from core.names import VFolderId
from core.redis import Database, connect
from tests.api.people.conftest import People, Person, grant_to
from tests.support.node import wait_for


@contextmanager
def at_rest(people: People) -> Iterator[None]:
    """No job of the volume begins meanwhile."""
    store = JobStore(connect(people.settings, Database.JOBS), ringer(people.settings))
    store.pause_volume("local")
    try:
        yield
    finally:
        store.pause_volume("local", resume=True)


def removed(people: People, person: Person, vfolder: VFolderId) -> str:
    """A job that removes the file `a`."""
    path = f"/v1/vfolders/{vfolder.id}/delete"

    def accepted() -> str:  # a membership is seen a moment after it was made
        response = people.call(person, "POST", path, {"paths": ["a"]})
        return str(response.json()["id"]) if response.status_code == 202 else ""

    return wait_for(accepted)


def without_members(record: SubjectRecord) -> SubjectRecord:
    return structs.replace(record, members=())


def blocked(record: SubjectRecord) -> SubjectRecord:
    return structs.replace(record, blocked=True)


def shared(people: People, owner: Person, word: str) -> VFolderId:
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(word, "rwd"))
    return vfolder


def test_who_lost_the_permission_while_the_job_waited(people: People) -> None:
    owner, kept, lowered, member, revoked, out = (people.person() for _ in range(6))
    group: UUID = people.group(member)
    words = {
        "kept": (kept, kept.word),
        "lowered": (lowered, lowered.word),
        "member no more": (member, f"group:{group}"),
        "key revoked": (revoked, revoked.word),
        "blocked": (out, out.word),
    }
    vfolders = {case: shared(people, owner, word) for case, (_, word) in words.items()}
    with at_rest(people):
        jobs = {
            case: removed(people, person, vfolders[case]) for case, (person, _) in words.items()
        }
        people.grant(vfolders["lowered"], grant_to(lowered.word, "rw"))
        people.subjects.change("group", group, without_members)
        people.revoke(revoked)
        people.subjects.change("user", out.id, blocked)
    ended = {case: people.ended(owner, job) for case, job in jobs.items()}
    assert ended.pop("kept")["state"] == "succeeded"
    assert not (people.path(vfolders["kept"]) / "a").exists()
    for case, job in ended.items():
        assert job["state"] == "failed", case
        assert job["error"]["error_code"] == "auth_execute_unauthorized", case
        assert (people.path(vfolders[case]) / "a").exists(), case
        assert "person" not in job


def test_a_move_is_decided_again_on_both_ends(people: People) -> None:
    owner, guest = people.person(), people.person()
    ends = {
        case: [shared(people, owner, guest.word) for _ in "st"] for case in ("source", "target")
    }
    with at_rest(people):
        jobs = {}
        for case, (source, target) in ends.items():
            body = {"to": f"local:{target.id}", "target_path": "in", "remove_source": True}
            answer = people.call(guest, "POST", f"/v1/vfolders/{source.id}/transfer", body)
            jobs[case] = answer.json()["id"]
        people.grant(ends["source"][0], grant_to(guest.word, "rw"))
        people.grant(ends["target"][1], grant_to(guest.word, "ro"))
    for case, (source, target) in ends.items():
        job = people.ended(owner, jobs[case])
        assert job["error"]["error_code"] == "auth_execute_unauthorized", case
        assert (people.path(source) / "a").exists(), case
        assert not (people.path(target) / "in").exists(), case


def test_a_revocation_cancels_what_its_grantee_may_not_do_any_more(people: People) -> None:
    owner, guest, both = (people.person() for _ in range(3))
    group: UUID = people.group(both)
    vfolder = people.vfolder(owner, a="1")
    grants = [
        grant_to(word, "rwd") for word in (guest.word, both.word, f"group:{group}", owner.word)
    ]
    people.grant(vfolder, *grants)
    base = f"/v1/vfolders/{vfolder.id}/grants"
    with at_rest(people):
        lost, kept, stays = (removed(people, one, vfolder) for one in (guest, both, owner))
        for grant in grants[:2]:
            path = f"{base}/{grant.id}?cancel_jobs=true"
            assert people.call(owner, "DELETE", path).status_code == 204
        assert people.call(owner, "DELETE", f"{base}/{grants[3].id}").status_code == 204
        assert people.call(owner, "GET", f"/v1/jobs/{lost}").json()["state"] == "cancelled"
    assert people.call(owner, "DELETE", f"{base}/x?cancel_jobs=maybe").status_code == 400
    # The file was there for the first of them.
    ended = {people.ended(owner, job)["state"] for job in (kept, stays)}
    assert ended == {"succeeded", "partial"}


def test_a_retry_is_decided_as_the_one_who_retries(people: People) -> None:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(guest.word, "rwd"))
    job = removed(people, guest, vfolder)
    assert people.ended(guest, job)["state"] == "succeeded"
    people.grant(vfolder, grant_to(guest.word, "rw"))
    base = f"/v1/jobs/{job}"
    wait_for(lambda: people.call(guest, "POST", f"{base}/retry").status_code == 403)
    again = people.call(owner, "POST", f"{base}/retry")
    assert again.status_code == 202, again.text
    assert again.json()["requester"] == owner.word
    assert again.json()["retry_of"] == job
    wrong = people.call(owner, "POST", f"{base}/retry?only=some")
    assert wrong.status_code == 400


def test_a_job_is_paused_and_goes_on(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    with at_rest(people):
        base = f"/v1/jobs/{removed(people, owner, vfolder)}"
        assert people.call(owner, "POST", f"{base}/retry").status_code == 409
        assert people.call(owner, "POST", f"{base}/pause").json()["paused"] is True
        limit = {"bytes_per_second": 1000}
        limited = people.call(owner, "PUT", f"{base}/bandwidth", limit)
        assert limited.json()["bytes_per_second"] == 1000
    assert people.call(owner, "POST", f"{base}/resume").json()["paused"] is False
    assert people.ended(owner, base.rpartition("/")[2])["state"] == "succeeded"
    report = people.call(owner, "GET", f"{base}/report")
    assert report.json()["summary"]["state"] == "succeeded"
