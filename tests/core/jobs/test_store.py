"""The moves of a job, one by one, on a real Valkey."""

import time
from uuid import UUID

import pytest

from core.cluster import BandwidthStore, NodeStore, NodeVolume
from core.cluster.bandwidth import Share
from core.errors import JobNotFound, KeyReused, Locked, NotCancellable
from core.jobs import State
from core.jobs.store import PREFIX, JobEnd, JobLists, Query
from tests.core.jobs.conftest import LEASE_SECONDS, Desk, folder
from tests.support.node import wait_for
from tests.support.node_records import node_record
from workers.run import Run

#: The record of an ended job without its result and its progress; it was 2,000.
RECORD_BYTES = 1400


def test_a_job_from_submit_to_end(desk: Desk) -> None:
    job = desk.usage(folder())
    assert desk.rung() == [job.id]
    assert job.state is State.QUEUED
    assert desk.claim(job) == "ok"
    assert desk.state(job) is State.RUNNING
    assert desk.store.heartbeat(job, "r1", LEASE_SECONDS, '{"text":"x"}') == (False, False, None)
    assert desk.finish(job)
    ended = desk.store.get(job.id)
    assert ended.state is State.SUCCEEDED
    assert ended.document()["result"] == {"ok": True}
    assert ended.document()["progress"] == {"text": "x"}
    assert ended.document()["done"] is True
    assert desk.claim(job, "r2") == "ended"


def test_unknown_is_not_pending(desk: Desk) -> None:
    with pytest.raises(JobNotFound):
        desk.store.get("nothing")
    assert desk.store.claim("nothing", "r", "n", 1) == "gone"


def test_a_second_run_is_refused_and_the_same_may_ask_again(desk: Desk) -> None:
    job = desk.usage(folder())
    assert desk.claim(job, "r1") == "ok"
    assert desk.claim(job, "r1") == "ok"
    assert desk.claim(job, "r2") == "held"
    assert desk.store.get(job.id).attempt == 1
    assert desk.store.heartbeat(job, "r2", LEASE_SECONDS) is None
    assert not desk.finish(job, "r2")
    assert not desk.store.release(job.id, "r2", "drained")
    assert desk.finish(job, "r1")
    assert desk.finish(job, "r1"), "settling twice by the same run is success"


def test_idempotency_key(desk: Desk) -> None:
    where = folder()
    first = desk.usage(where, idempotency_key="k", requester="m")
    assert desk.usage(where, idempotency_key="k", requester="m").id == first.id
    other = desk.usage(folder(), idempotency_key="k", requester="another")
    assert other.id != first.id
    with pytest.raises(KeyReused):
        desk.usage(folder(), idempotency_key="k", requester="m")
    desk.claim(first)
    desk.finish(first)
    assert desk.usage(where, idempotency_key="k", requester="m").id == first.id


def test_natural_key_joins_while_the_first_lives(desk: Desk) -> None:
    source, target = folder(), folder()
    first = desk.clone(source, target)
    assert desk.clone(source, target).id == first.id
    with pytest.raises(Locked) as caught:
        desk.clone(folder(), target)
    assert caught.value.facts["job_id"] == first.id
    desk.claim(first)
    desk.finish(first)
    assert desk.clone(source, target).id != first.id


def test_slots_hold_back_and_the_end_rings_the_next(desk: Desk) -> None:
    jobs = [desk.usage(folder()) for _ in range(4)]
    assert desk.rung() == [jobs[0].id, jobs[1].id]
    assert desk.claim(jobs[2]) == "waiting"
    assert desk.reason(jobs[2]) == "waiting for a slot"
    desk.claim(jobs[0])
    desk.finish(jobs[0])
    assert desk.rung() == [jobs[2].id]
    desk.store.set_slots("v", 2, 3)
    assert desk.rung() == [jobs[3].id]


def test_turns_go_over_the_scopes(desk: Desk) -> None:
    desk.store.set_slots("v", 1, 1)
    greedy = [desk.usage(folder(UUID(int=1))) for _ in range(3)]
    modest = desk.usage(folder(UUID(int=2)))
    order = []
    for _ in range(4):
        (job,) = desk.rung()
        order.append(job)
        desk.store.claim(job, "r", "n", 1)
        desk.store.finish(job, "r", JobEnd(State.SUCCEEDED))
    assert order == [greedy[0].id, greedy[1].id, modest.id, greedy[2].id]


def test_priority_goes_first(desk: Desk) -> None:
    desk.store.set_slots("v", 1, 1)
    first, late = desk.usage(folder()), desk.usage(folder())
    urgent = desk.usage(folder(), priority=0)
    desk.rung()
    desk.claim(first)
    desk.finish(first)
    assert desk.rung() == [urgent.id]
    assert desk.reason(late) == "waiting for a slot"


def test_readers_share_and_a_writer_waits_its_turn(desk: Desk) -> None:
    source = folder()
    desk.store.set_slots("v", 9, 9)
    one, two = desk.clone(source, folder()), desk.clone(source, folder())
    assert desk.rung() == [one.id, two.id]
    delete = desk.delete(source)
    late = desk.clone(source, folder())
    assert desk.rung() == []
    assert desk.store.get(delete.id).fields["waits_for"] == one.id
    assert desk.reason(delete) == f"waiting for the shared lock of job {one.id}"
    assert desk.store.get(late.id).fields["waits_for"] == delete.id
    for job in (one, two):
        desk.claim(job)
        desk.finish(job)
    assert desk.rung() == [delete.id]
    desk.claim(delete)
    desk.finish(delete)
    assert desk.rung() == [late.id]


def test_a_dead_lease_is_taken_back_until_it_is_poison(desk: Desk) -> None:
    job = desk.usage(folder())
    for attempt in (1, 2, 3):
        assert desk.claim(job, f"r{attempt}") == "ok"
        desk.rung()
        assert desk.store.reap(2) == (0, 0, 0)
        desk.let_pass(job)
        lost, poisoned, _ = desk.store.reap(2)
        assert (lost, poisoned) == ((1, 0) if attempt <= 2 else (0, 1))
    document = desk.store.get(job.id).document()
    assert document["state"] == "failed"
    assert document["error"]["code"] == "poison"


def test_a_lost_bell_is_rung_again(desk: Desk) -> None:
    job = desk.usage(folder(), ring_again_seconds=3600.0)
    assert desk.rung() == [job.id]
    assert desk.store.reap(3) == (0, 0, 0)
    desk.let_pass(job)
    assert desk.store.reap(3) == (0, 0, 1)
    assert desk.rung() == [job.id]


def test_cancel_before_during_and_after(desk: Desk) -> None:
    waiting, running = desk.usage(folder()), desk.usage(folder())
    assert desk.store.cancel(waiting.id).state is State.CANCELLED
    desk.claim(running)
    assert desk.store.cancel(running.id).state is State.CANCELLING
    assert desk.store.heartbeat(running, "r1", LEASE_SECONDS) == (True, False, None)
    assert desk.finish(running, state=State.CANCELLED)
    assert desk.store.cancel(running.id).state is State.CANCELLED
    done = desk.usage(folder())
    desk.claim(done)
    desk.store.heartbeat(done, "r1", LEASE_SECONDS, final=True)
    with pytest.raises(NotCancellable):
        desk.store.cancel(done.id)
    desk.finish(done)
    with pytest.raises(NotCancellable):
        desk.store.cancel(done.id)
    with pytest.raises(JobNotFound):
        desk.store.cancel("nothing")


def test_cancel_of_a_job_that_ran_lets_one_more_run_clean_up(desk: Desk) -> None:
    job = desk.usage(folder())
    desk.claim(job)
    desk.store.release(job.id, "r1", "drained")
    assert desk.store.cancel(job.id).state is State.QUEUED
    assert desk.claim(job, "r2") == "ok"
    assert desk.state(job) is State.CANCELLING


def test_pause_lets_others_pass_and_resume_goes_to_the_end(desk: Desk) -> None:
    where = folder()
    first, second = desk.delete(where), desk.usage(where)
    desk.rung()
    desk.store.pause(first.id)
    assert desk.reason(first) == "paused"
    assert desk.rung() == [second.id]
    desk.store.pause(first.id, resume=True)
    assert desk.rung() == []
    assert desk.store.get(first.id).fields["waits_for"] == second.id
    desk.claim(second)
    desk.finish(second)
    assert desk.rung() == [first.id]


def test_pause_of_a_running_job(desk: Desk) -> None:
    job = desk.usage(folder())
    desk.claim(job)
    desk.store.pause(job.id)
    assert desk.store.heartbeat(job, "r1", LEASE_SECONDS) == (False, True, None)
    desk.rung()
    desk.store.release(job.id, "r1", "paused")
    assert desk.rung() == []
    assert desk.reason(job) == "paused"
    desk.store.pause(job.id, resume=True)
    assert desk.rung() == [job.id]


def test_a_paused_job_that_ran_keeps_its_vfolder(desk: Desk) -> None:
    """Its next run continues what it began: no job may change the vfolder meanwhile."""
    vfolder = folder()
    job = desk.delete(vfolder)
    desk.claim(job)
    other = desk.clone(vfolder, folder())
    desk.store.release(job.id, "r1", "drained")
    desk.store.pause(job.id)
    desk.rung()
    assert desk.store.get(other.id).fields["waits_for"] == job.id
    desk.store.set_slots("v", 2, 100)
    assert desk.rung() == []
    desk.store.pause(job.id, resume=True)
    assert desk.rung() == [job.id]


def test_pause_of_a_volume(desk: Desk) -> None:
    running = desk.usage(folder())
    desk.claim(running)
    desk.rung()
    desk.store.pause_volume("v")
    waiting = desk.usage(folder())
    assert desk.rung() == []
    assert desk.store.heartbeat(running, "r1", LEASE_SECONDS) == (False, True, None)
    desk.store.pause_volume("v", resume=True)
    assert desk.rung() == [waiting.id]


def test_a_job_that_got_its_slot_before_the_pause_of_its_volume_waits(desk: Desk) -> None:
    job = desk.usage(folder())
    assert desk.rung() == [job.id]
    desk.store.pause_volume("v")
    assert desk.store.claim(job.id, "r1", "node1", LEASE_SECONDS) == "waiting"
    assert desk.state(job) is State.QUEUED
    desk.store.pause_volume("v", resume=True)
    assert desk.rung() == [job.id]
    assert desk.store.claim(job.id, "r1", "node1", LEASE_SECONDS) == "ok"


def test_deadline_of_a_running_and_of_a_waiting_job(desk: Desk) -> None:
    later = int(time.time() * 1000) + 3_600_000
    running = desk.usage(folder(), deadline_ms=later)
    desk.claim(running)
    desk.store.set_slots("v", 1, 1)
    waiting = desk.usage(folder(), deadline_ms=later)
    assert desk.store.heartbeat(running, "r1", LEASE_SECONDS) == (False, False, None)
    desk.let_pass(running)
    desk.let_pass(waiting)
    assert desk.store.heartbeat(running, "r1", LEASE_SECONDS) == (True, False, None)
    desk.store.reap(3)
    assert desk.store.get(waiting.id).document()["error"]["code"] == "deadline"


def test_sweep_forgets_without_a_trace(desk: Desk) -> None:
    kept = desk.usage(folder())
    good, bad = desk.usage(folder()), desk.usage(folder())
    for job, state in ((good, State.SUCCEEDED), (bad, State.FAILED)):
        desk.store.set_slots("v", 9, 9)
        desk.claim(job)
        desk.finish(job, state=state)
    time.sleep(0.01)
    assert desk.store.sweep(0, 3600) == 0, "their ends are not published yet"
    desk.store.redis.delete("vf:outbox")
    assert desk.store.sweep(0, 3600) == 1
    with pytest.raises(JobNotFound):
        desk.store.get(good.id)
    assert desk.store.sweep(0, 0) == 1
    desk.store.cancel(kept.id)
    desk.store.redis.delete("vf:outbox")
    time.sleep(0.01)
    assert desk.store.sweep(0, 0) == 1
    left = set(desk.store.redis.keys("vf:*"))
    assert left == {"vf:seq", "vf:layout", "vf:limits", "vf:outbox:seq"}


def test_the_record_of_an_ended_job_is_small_and_says_all(desk: Desk) -> None:
    where = folder()
    job, lists = desk.clone(where, folder(), label="nightly", requester="m"), JobLists(desk.redis)
    desk.claim(job)
    desk.store.heartbeat(job, "r1", LEASE_SECONDS, '{"text":"copy 100%"}')
    desk.finish(job)
    document = desk.store.get(job.id).document()
    was = job.document()
    same = ("request", "verb", "scope", "label", "requester", "priority", "created_at", "links")
    assert {name: document[name] for name in same} == {name: was[name] for name in same}
    assert document["result"] == {"ok": True}
    assert (document["paused"], document["cancellable"], document["waits_for"]) == (0, 0, None)
    assert [line["kind"] for line in lists.log(job.id)] == ["submitted", "claimed", "succeeded"]
    assert lists.log(job.id)[1]["node"] == "n1"
    for filters in ({"vfolder": where.removeprefix("v/")}, {"label": "nightly"}):
        assert [found.id for found in lists.page(Query(filters)).jobs] == [job.id]
    assert not desk.redis.exists(f"vf:log:{job.id}")
    assert int(desk.redis.memory_usage(f"vf:job:{job.id}") or 0) < RECORD_BYTES


def test_a_record_that_cannot_be_read_hides_no_other(desk: Desk) -> None:
    """Of another version, or damaged."""
    jobs, lists = [desk.usage(folder()) for _ in range(3)], JobLists(desk.redis)
    desk.redis.hset(f"{PREFIX}job:{jobs[1].id}", "state", "of another version")
    page = lists.page(Query({"state": "queued"})).jobs
    assert {jobs[0].id, jobs[2].id} <= {found.id for found in page}
    assert jobs[1].id not in {found.id for found in page}


def test_a_long_log_of_an_ended_job_is_read_too(desk: Desk) -> None:
    job, lists = desk.usage(folder()), JobLists(desk.redis)
    for _ in range(40):
        desk.claim(job)
        desk.store.release(job.id, "r1", "drained")
    desk.claim(job)
    before = lists.log(job.id)
    desk.finish(job)
    after = lists.log(job.id)
    assert after[:-1] == before
    assert (len(after), after[-1]["kind"], after[-1]["attempt"]) == (83, "succeeded", 41)
    desk.redis.delete("vf:outbox")
    desk.store.forget(job.id)
    assert not desk.redis.exists(f"vf:log:{job.id}")


def test_a_node_that_does_not_reach_the_volume_claims_nothing(desk: Desk) -> None:
    book = NodeStore(desk.store.redis)

    def renew(*, proven: bool) -> None:
        volumes = {"v": NodeVolume(proven=proven)}
        book.renew(node_record("n1", volumes=volumes, lanes=["fast", "bulk"]))

    job = desk.usage(folder())
    renew(proven=False)
    assert desk.claim(job) == "unproven"
    assert desk.state(job) is State.QUEUED
    assert desk.store.get(job.id).attempt == 0
    renew(proven=True)
    assert desk.claim(job) == "ok"


def test_the_budget_of_a_volume_is_shared_by_its_runs(desk: Desk) -> None:
    one, two = desk.usage(folder()), desk.usage(folder())
    budgets = BandwidthStore(desk.store.redis)
    budgets.set("v", 1000)
    for job in (one, two):
        desk.claim(job)
        assert desk.store.heartbeat(job, "r1", LEASE_SECONDS) == (False, False, 500)
    desk.finish(two)
    assert desk.store.heartbeat(one, "r1", LEASE_SECONDS) == (False, False, 1000)
    budgets.set("v", None)
    assert desk.store.heartbeat(one, "r1", LEASE_SECONDS) == (False, False, None)


def test_streams_have_their_shares_beside_the_runs(desk: Desk) -> None:
    job, book = desk.usage(folder()), BandwidthStore(desk.store.redis)
    desk.claim(job)
    assert book.report("door 1", {"v": 3}) == {}, "no budget, so no sharers"
    book.set("v", 1000)
    assert book.report("door 1", {"v": 3, "w": 1}) == {"v": Share(1000, jobs=1, streams=0)}
    assert book.report("door 2", {"v": 1}) == {"v": Share(1000, jobs=1, streams=3)}
    assert desk.store.heartbeat(job, "r1", LEASE_SECONDS) == (False, False, 200)
    book.report("door 1", {})
    assert book.shares() == {"v": Share(1000, jobs=1, streams=1)}
    assert desk.store.heartbeat(job, "r1", LEASE_SECONDS) == (False, False, 500)
    report = desk.store.redis.hget("vf:streams:v", "door 2")
    long_ago = int(str(report).split()[1]) - 60_000
    desk.store.redis.hset("vf:streams:v", "door 2", f"1 {long_ago}")
    assert book.shares()["v"].streams == 0, "a door that fell silent has none"


def test_a_run_keeps_to_its_share_from_its_first_byte(desk: Desk) -> None:
    BandwidthStore(desk.store.redis).set("v", 1000)
    job = desk.usage(folder())
    assert desk.claim(job) == "ok"
    run = Run(desk.store, desk.store.get(job.id), LEASE_SECONDS, name="r1")
    assert run.throttle.limits[0] == 1000
    run.close()


def test_what_holds_entries_back_stays_when_the_bandwidth_changes(desk: Desk) -> None:
    job = desk.usage(folder())
    assert desk.claim(job) == "ok"
    run = Run(desk.store, desk.store.get(job.id), LEASE_SECONDS, name="r1")
    run.hold_back("v", 7.0)
    BandwidthStore(desk.store.redis).set("v", 1000)
    run.start()
    wait_for(lambda: run.throttle.limits[0] > 0)
    assert run.throttle.limits[1] == 7.0
    run.stop()
    run.close()
