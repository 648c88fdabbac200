"""What a worker's upkeep does for the store of jobs, though no lane runs anything."""

from core.jobs.store import PREFIX, JobStore
from core.jobs.store.keys import keys_of
from tests.api.jobs.conftest import Site
from tests.support.node import wait_for

READERS = 7


def test_old_jobs_are_forgotten_while_the_volume_rests(at_rest: Site) -> None:
    site = at_rest
    ids = [site.begun("usage", vfolder=site.folder()) for _ in range(3)]
    for job in ids:
        site.door.call("POST", f"/v1/jobs/{job}/cancel")
    kept = ids.pop()
    site.redis.zadd(f"{PREFIX}ended:short", dict.fromkeys(ids, 1))
    wait_for(
        lambda: all(site.door.call("GET", f"/v1/jobs/{job}").status_code == 404 for job in ids)
    )
    assert site.get(kept)["state"] == "cancelled"


def test_the_end_of_a_job_that_never_ran_is_published(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    assert JobStore(site.redis, lambda _bell: None).cancel(job, "")  # as a door that dies then
    assert site.get(job)["state"] == "cancelled"
    wait_for(
        lambda: not site.redis.zcard(f"{PREFIX}outbox"), 20, failure="its end stays unpublished"
    )


def test_the_leader_announces_a_lost_node(site: Site) -> None:
    site.redis.sadd(f"{PREFIX}nodes:told", "lost")  # it was seen, and is silent
    wait_for(lambda: not site.redis.sismember(f"{PREFIX}nodes:told", "lost"), 20)
    assert site.redis.get(f"{PREFIX}leader")


def test_upkeep_continues_what_a_dead_process_left(at_rest: Site) -> None:
    """A process cancels a writer, wakes one of its readers, and dies."""
    site = at_rest
    folder = site.folder(a="1")
    writer = site.begun("delete", vfolder=folder)
    readers = [
        site.begun("clone", source=folder, target=f"{folder.partition('/')[0]}/{number:032x}")
        for number in range(1, READERS + 1)
    ]
    assert {site.get(job)["waits_for"] for job in readers} == {writer}
    dying = JobStore(site.redis, lambda _bell: None, batch=1)
    assert dying._call("cancel", keys_of("cancel", writer), writer, "")[:2] == ["ok", "1"]
    wait_for(lambda: not site.redis.exists(f"{PREFIX}wakes"))
    places = [site.get(job)["queue"] for job in readers]
    assert [place["position"] for place in places] == list(range(1, READERS + 1))
    for job in readers:
        site.door.call("POST", f"/v1/jobs/{job}/cancel")
