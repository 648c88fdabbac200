"""The purge rate of a volume, its share for each run that purges, and what they report."""

import json

from core.jobs import Counter, Job, Progress
from core.jobs.store import PurgeRates, RunningPurges
from core.jobs.store.store import PREFIX
from tests.core.jobs.conftest import LEASE_SECONDS, Desk, folder
from tests.support.node import wait_for
from workers.run import Run


def report(desk: Desk, job: Job, *, phase: str = "purge", entries: int = 0) -> None:
    """One heartbeat of a run that removed entries in the first second of a phase."""
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.phase(phase)
    progress.count(Counter.DELETED, entries)
    now[0] = 1.0
    assert desk.store.heartbeat(job, "r1", LEASE_SECONDS, json.dumps(progress.snapshot()))


def test_the_rate_is_shared_by_the_runs_that_purge(desk: Desk) -> None:
    rates = PurgeRates(desk.redis)
    one, two, other = desk.usage(folder()), desk.usage(folder()), desk.usage(folder(), "w")
    desk.store.set_slots("w", 1, 1)
    for job in (one, two, other):
        assert desk.claim(job) == "ok"
    assert rates.share(one.id, "v", LEASE_SECONDS) is None
    rates.set("v", 90)
    assert rates.share(one.id, "v", LEASE_SECONDS) == 90
    assert rates.share(two.id, "v", LEASE_SECONDS) == 45
    assert rates.share(two.id, "v", LEASE_SECONDS) == 45, "a second question changes nothing"
    assert rates.share(one.id, "v", LEASE_SECONDS) == 45
    assert rates.share(other.id, "w", LEASE_SECONDS) is None
    desk.finish(two)
    assert rates.running(["v", "w"])["v"].purges == 1
    assert rates.share(one.id, "v", LEASE_SECONDS) == 90
    assert desk.redis.smembers(f"{PREFIX}purging:v") == {one.id}
    rates.set("v", None)
    assert rates.share(one.id, "v", LEASE_SECONDS) is None


def test_a_run_that_no_longer_asks_is_forgotten_after_a_lease(desk: Desk) -> None:
    job = desk.usage(folder())
    desk.claim(job)
    PurgeRates(desk.redis).share(job.id, "v", LEASE_SECONDS)
    assert 0 < int(desk.redis.pttl(f"{PREFIX}purging:v")) <= LEASE_SECONDS * 1000


def test_what_is_observed_is_the_sum_of_what_was_reported(desk: Desk) -> None:
    rates = PurgeRates(desk.redis)
    assert rates.running(["v"]) == {"v": RunningPurges()}
    rates.set("v", 1000)
    one, two = desk.usage(folder()), desk.usage(folder())
    for job in (one, two):
        desk.claim(job)
        rates.share(job.id, "v", LEASE_SECONDS)
        report(desk, job)
    assert rates.running(["v"])["v"] == RunningPurges(1000, 2), "nothing is known yet"
    report(desk, one, entries=70)
    found = rates.running(["v"])["v"]
    assert (found.purges, found.observed_entries_per_second) == (2, 70)
    assert found.as_of == int(desk.store.get(one.id).fields["updated_at"]) / 1000
    report(desk, two, entries=5)
    assert rates.running(["v"])["v"].observed_entries_per_second == 75
    report(desk, two, phase="count", entries=5000)
    assert rates.running(["v"])["v"].observed_entries_per_second == 70, "it counts, and removes not"
    desk.finish(one)
    desk.finish(two)
    assert rates.running(["v"]) == {"v": RunningPurges(1000)}


def test_a_run_follows_its_share_and_else_the_configured_limit(desk: Desk) -> None:
    rates, job = PurgeRates(desk.redis), desk.usage(folder())
    rates.set("v", 70)
    assert desk.claim(job) == "ok"
    run = Run(desk.store, desk.store.get(job.id), LEASE_SECONDS, name="r1")
    assert run.throttle.limits[1] == 0
    run.hold_back("v", 7.0)
    assert run.throttle.limits[1] == 70, "from the first entry on"
    for rate, limit in ((700, 700), (1, 1), (None, 7)):
        rates.set("v", rate)
        run._renew()
        assert run.throttle.limits[1] == limit
    run.close()


def test_the_share_is_kept_while_the_store_is_away(desk: Desk) -> None:
    rates, job = PurgeRates(desk.redis), desk.usage(folder())
    rates.set("v", 70)
    assert desk.claim(job) == "ok"
    run = Run(desk.store, desk.store.get(job.id), LEASE_SECONDS, name="r1")
    run.hold_back("v", 7.0)
    desk.redis.rename(f"{PREFIX}purge-rates", "elsewhere")
    desk.redis.set(f"{PREFIX}purge-rates", "no table")  # the script fails now
    run.start()
    wait_for(lambda: desk.store.get(job.id).fields.get("progress"))
    assert run.throttle.limits[1] == 70
    run.stop()
    run.close()
