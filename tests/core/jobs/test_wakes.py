"""Many jobs behind one: each script wakes and admits a bounded number, and none is forgotten."""

from uuid import UUID

import pytest
from redis import Redis

from core.jobs import Job, State
from core.jobs.store import PREFIX, Doorbell, JobEnd, JobLists, JobStore
from core.jobs.store.keys import keys_of
from core.jobs.store.lists import TURNS_MAX
from core.jobs.store.loading import BATCH as LARGE
from tests.core.jobs.conftest import Desk, folder
from tests.core.jobs.ledger import Ledger
from tests.support.valkey import Valkey

BATCH = 5
WAITERS = 23


@pytest.fixture
def small(valkey: Valkey, redis_client: Redis) -> Desk:
    """A store whose scripts move at most five jobs."""
    bells: list[Doorbell] = []
    client = Redis.from_url(f"{valkey.url}/1", decode_responses=True)
    store = JobStore(client, bells.append, batch=BATCH)
    store.set_slots("v", 2, 2)
    return Desk(store, bells)


def behind_a_delete(desk: Desk) -> tuple[Job, list[Job]]:
    source = folder()
    delete = desk.delete(source)
    clones = [desk.clone(source, folder(UUID(int=n % 3 + 1))) for n in range(WAITERS)]
    assert desk.rung() == [delete.id]
    desk.claim(delete)
    return delete, clones


def finish_only(desk: Desk, job: Job) -> int:
    """End a job as `finish` does, and die before what it left is continued; return the bells."""
    answer = desk.store._call(
        "finish", keys_of("finish", job.id), job.id, "r1", "succeeded", "", "", ""
    )
    assert answer[:2] == ["ok", "1"], "work is left"
    return (len(answer) - 2) // 6


def test_the_end_of_an_exclusive_job_wakes_all_readers(small: Desk) -> None:
    delete, clones = behind_a_delete(small)
    small.finish(delete)
    assert small.rung() == [clones[0].id, clones[1].id]
    Ledger.read(small.store.redis).check()
    for clone in clones:
        assert small.reason(clone) in ("waiting for a slot", "waiting for a worker")
        assert small.store.get(clone.id).version > clone.version, "callers that follow it see that"


def test_a_lane_admits_no_job_until_all_are_woken(small: Desk) -> None:
    """The slots go to the scopes in turn, though the first batch has jobs of one scope only."""
    source = folder()
    delete = small.delete(source)
    greedy = [small.clone(source, folder(UUID(int=1))) for _ in range(WAITERS)]
    modest = small.clone(source, folder(UUID(int=2)))
    small.claim(delete)
    small.rung()
    assert finish_only(small, delete) == 0
    other = small.usage(folder(UUID(int=3)))
    assert small.rung() == [], "the lane is held"
    assert small.store.proceed(100)
    assert small.rung() == [greedy[0].id, other.id]
    small.claim(other)
    small.finish(other)
    assert small.rung() == [modest.id]
    Ledger.read(small.store.redis).check()


def test_the_reaper_continues_what_a_dead_process_left(small: Desk) -> None:
    delete, clones = behind_a_delete(small)
    finish_only(small, delete)
    assert small.store.proceed(100)
    assert small.rung() == [clones[0].id, clones[1].id]
    Ledger.read(small.store.redis).check()


def test_slots_that_are_raised_by_much_are_given_in_batches(small: Desk) -> None:
    jobs = [small.usage(folder()) for _ in range(WAITERS)]
    small.rung()
    answer = small.store._call("limits", keys_of("limits"), "v", 2, 100)
    assert answer[:2] == ["ok", "1"]
    assert len(answer) == 2 + 6 * BATCH
    assert small.store.proceed(100)
    assert len(small.rung()) == WAITERS - 2 - BATCH
    assert all(small.reason(job) == "waiting for a worker" for job in jobs)


def test_a_volume_that_is_resumed_admits_in_batches(small: Desk) -> None:
    small.store.pause_volume("v")
    small.store.set_slots("v", 2, 100)
    jobs = [small.usage(folder()) for _ in range(WAITERS)]
    answer = small.store._call("pause_volume", keys_of("pause_volume"), "v", "0")
    assert answer[:2] == ["ok", "1"]
    assert small.store.proceed(100)
    assert len(small.rung()) == WAITERS - BATCH
    Ledger.read(small.store.redis).check()
    small.store.pause_volume("v")
    assert small.store.proceed(1), "a paused lane leaves no work"
    assert small.claim(jobs[-1]) == "waiting"


def test_a_wake_goes_on_while_jobs_come_and_go(small: Desk) -> None:
    delete, clones = behind_a_delete(small)
    finish_only(small, delete)
    small.store.cancel(clones[-1].id)
    small.store.pause(clones[-2].id)
    late = small.delete(delete.member("request")["vfolder"])
    small.store.proceed(100)
    assert small.store.get(late.id).fields["waits_for"] == clones[0].id
    small.store.set_slots("v", 2, 100)
    assert len(small.rung()) == WAITERS - 2
    assert small.state(clones[-1]) is State.CANCELLED
    Ledger.read(small.store.redis).check()


def test_the_end_of_a_reader_looks_at_no_other_reader(desk: Desk) -> None:
    source = folder()
    desk.store.set_slots("v", 2, 500)
    readers = [desk.clone(source, folder()) for _ in range(200)]
    writer = desk.delete(source)
    desk.claim(readers[0])
    before = _calls(desk)
    desk.finish(readers[0])
    assert _calls(desk) - before < 100
    assert desk.store.get(writer.id).fields["waits_for"] == readers[1].id


def test_no_script_moves_more_jobs_than_a_batch(desk: Desk) -> None:
    """A writer with 400 readers behind it, of 400 scopes: no script costs more than a batch."""
    source = folder()
    delete = desk.delete(source)
    for number in range(400):
        desk.clone(source, folder(UUID(int=number + 1)))
    desk.claim(delete)
    costs = [_cost(desk, "finish", delete.id, "r1", "succeeded", "", "", "")]
    while desk.store.redis.exists(f"{PREFIX}wakes", f"{PREFIX}admits"):
        costs.append(_cost(desk, "proceed"))
    assert len(costs) == 400 // LARGE + 1
    assert max(costs) < 30 * LARGE + 100
    Ledger.read(desk.store.redis).check()


def _cost(desk: Desk, script: str, *arguments: str) -> int:
    before = _calls(desk)
    desk.store._call(script, keys_of(script, *arguments[:1]), *arguments)
    return _calls(desk) - before


def _calls(desk: Desk) -> int:
    """The commands that the server has run, those inside scripts included."""
    stats = desk.store.redis.info("commandstats")
    return sum(int(one["calls"]) for one in stats.values())


# -- The position in the queue --------------------------------------------------------------------
def test_the_position_is_exact_for_few_scopes(desk: Desk) -> None:
    desk.store.pause_volume("v")
    lists = JobLists(desk.store.redis)
    jobs = [desk.usage(folder(UUID(int=n % 3 + 1))) for n in range(10)]
    jobs += [desk.usage(folder(UUID(int=1))) for _ in range(5)]
    found = [lists.queue_position(desk.store.get(job.id)) for job in jobs]
    assert all(place and place.length == len(jobs) and place.volume_paused for place in found)
    by_position = sorted(zip(found, jobs, strict=True), key=lambda one: one[0].position)  # type: ignore[union-attr, arg-type, return-value] # all wait
    assert [place.position for place, _ in by_position if place] == list(range(1, 16))
    desk.store.set_slots("v", 2, 100)
    desk.store.pause_volume("v", resume=True)
    assert desk.rung() == [job.id for _, job in by_position]


def test_the_position_among_many_scopes_has_a_bound(desk: Desk) -> None:
    desk.store.pause_volume("v")
    lists = JobLists(desk.store.redis)
    scopes = TURNS_MAX + 20
    first = [desk.usage(folder(UUID(int=n + 1))) for n in range(scopes)]
    second = desk.usage(folder(UUID(int=5)))
    place = lists.queue_position(desk.store.get(first[70].id))
    assert place
    assert (place.position, place.length, place.ahead) == (71, scopes + 1, 70)
    before = _calls(desk)
    place = lists.queue_position(desk.store.get(second.id))
    assert _calls(desk) - before < 20
    assert place
    assert (place.position, place.length, place.ahead) == (None, scopes + 1, scopes)


# -- The reaper -----------------------------------------------------------------------------------
def test_the_reaper_takes_all_that_is_due(desk: Desk) -> None:
    desk.store.set_slots("v", 2, 200)
    jobs = [desk.usage(folder()) for _ in range(90)]
    for job in jobs:
        desk.claim(job)
    desk.store.redis.zadd(f"{PREFIX}due", dict.fromkeys((job.id for job in jobs), 1), xx=True)
    assert desk.store.reap(3) == (90, 0, 0)


def test_the_reaper_rings_ever_later(desk: Desk) -> None:
    """Each pause is twice the last, up to sixteen times the first."""
    seconds = 1000.0
    job = desk.usage(folder(), ring_again_seconds=seconds)
    pauses = []
    for _ in range(7):
        desk.let_pass(job)
        assert desk.store.reap(3) == (0, 0, 1)
        now, micros = desk.store.redis.time()
        due = desk.store.redis.zscore(f"{PREFIX}due", job.id)
        pauses.append(round((float(due or 0) / 1000 - now - micros / 1e6) / seconds, 1))
    assert pauses == [2, 4, 8, 16, 16, 16, 16]
    assert desk.rung() == [job.id] * 8
    desk.claim(job)
    desk.store.release(job.id, "r1", "drained")
    desk.let_pass(job)
    desk.store.reap(3)
    due = desk.store.redis.zscore(f"{PREFIX}due", job.id)
    assert round((float(due or 0) / 1000 - desk.store.redis.time()[0]) / seconds) == 2


def test_a_sweep_takes_all_that_is_old(desk: Desk) -> None:
    desk.store.set_slots("v", 2, 200)
    jobs = [desk.usage(folder()) for _ in range(130)]
    for number, job in enumerate(jobs):
        desk.claim(job)
        desk.store.finish(job.id, "r1", JobEnd(State.FAILED if number % 2 else State.SUCCEEDED))
    desk.store.redis.delete(f"{PREFIX}outbox")
    assert desk.store.sweep(-1, -1) == 130
    assert not desk.store.redis.keys(f"{PREFIX}job:*")
