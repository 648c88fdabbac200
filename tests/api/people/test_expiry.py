"""Expired vfolders: read-only first, then in the trash; one that got a later end stays."""

import time

from msgspec import structs

from api.jobs.doorbell import ringer
from core.access import records
from core.jobs.store import PREFIX, JobStore
from core.names import VFolderId
from core.redis import Database, connect
from tests.api.people.conftest import People, Person
from tests.api.people.test_waiting_jobs import at_rest
from tests.support.node import wait_for
from workers.node import Sweep

DAY_SECONDS = 86_400.0


def expired(people: People, owner: Person, days: float) -> VFolderId:
    """A vfolder whose end was so many days ago."""
    vfolder = people.vfolder(owner, a="1")
    record = records.implied("local", vfolder)
    end = time.time() - days * DAY_SECONDS
    people.write(structs.replace(record, expires_at=end, revision=1), vfolder)
    return vfolder


def sweep(people: People) -> None:
    client = connect(people.settings, Database.JOBS)
    client.delete(f"{PREFIX}expiry-looked:local")
    Sweep(people.settings, JobStore(client, ringer(people.settings)), "local")()


def test_an_expired_vfolder_goes_to_the_trash_in_the_end(people: People) -> None:
    owner = people.person()
    old, new, none = (expired(people, owner, days) for days in (31, 29, -1))
    forged = expired(people, owner, 31)
    meta = people.path(forged).parents[2] / ".vfolder" / "meta" / f"{forged.id.hex}.access"
    meta.write_bytes(meta.read_bytes().replace(b'"revision":1', b'"revision":2'))
    extended = expired(people, owner, 31)
    with at_rest(people):
        sweep(people)
        base = f"/v1/vfolders/{extended.id}"
        assert people.call(owner, "PATCH", base, {"expires_at": None}).status_code == 200
    wait_for(lambda: not people.path(old).exists())
    path = f"/v1/vfolders/{old.id}"
    wait_for(lambda: people.call(owner, "GET", path).json().get("trashed") is True)

    def refused() -> bool:
        store = JobStore(connect(people.settings, Database.JOBS), ringer(people.settings))
        jobs = [store.get(str(one)) for one in store.redis.zrange("vf:ix:requester:sweep", 0, -1)]
        mine = [job for job in jobs if extended.id.hex in job.fields["request"]]
        return [job.state.value for job in mine] == ["failed"]

    wait_for(refused)
    for vfolder in (new, none, forged, extended):
        assert people.path(vfolder).exists()


def test_an_owner_reads_of_the_end_before_it(people: People) -> None:
    owner = people.person()
    soon, later, much_later = (expired(people, owner, -days) for days in (0.5, 6.5, 8))
    for _ in range(2):
        sweep(people)
    notices = people.call(owner, "GET", "/v1/notices").json()["notices"]
    assert {(one["kind"], one["days"], one["vfolder"]) for one in notices} == {
        ("expiry", 1, str(soon.id)),
        ("expiry", 7, str(later.id)),
    }
    assert len(notices) == 2
    assert all(one["vfolder"] != str(much_later.id) for one in notices)
