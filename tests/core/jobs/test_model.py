"""Random interleavings of all moves by several runs, checked against the table of transitions."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from redis import Redis

from core.errors import Conflict, JobNotFound, KeyReused, Locked
from core.jobs import Job, Lane, State
from core.jobs.job import ENDED, TRANSITIONS, Move
from core.jobs.requests import (
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    Request,
    UsageRequest,
)
from core.jobs.store import PREFIX, Doorbell, JobEnd, JobStore, Submission
from tests.core.jobs.ledger import HELD, Ledger
from tests.support.valkey import Valkey

LEASE_SECONDS = 3600.0
MAX_LOSSES = 2
VOLUMES = ("v", "w")
SCOPES = tuple(f"user:{UUID(int=number)}" for number in (1, 2))
FOLDERS = tuple(f"{scope}/{UUID(int=number).hex}" for scope in SCOPES for number in (3, 4))
RUNS = ("r1", "r2", "r3")
EXAMPLES, STEPS = 40, 50


class FastUsage(UsageRequest, frozen=True, kw_only=True, tag="fast-usage"):
    """A second lane for the model; no verb of the service."""

    @property
    def lane(self) -> Lane:
        return Lane.FAST


def requests() -> st.SearchStrategy[Request]:
    volume, folder = st.sampled_from(VOLUMES), st.sampled_from(FOLDERS)
    one = {"volume": volume, "vfolder": folder}
    clone = st.builds(
        lambda volume, pair, other: CloneRequest(
            volume=volume, source=pair[0], target=pair[1], target_volume=other
        ),
        volume,
        st.lists(folder, min_size=2, max_size=2, unique=True),
        st.none() | volume,
    )
    return st.one_of(
        clone,
        st.builds(DeleteRequest, **one),
        st.builds(UsageRequest, **one),
        st.builds(FastUsage, **one),
        st.builds(DeleteFilesRequest, paths=st.just(["a"]), **one),
    )


JOBS = st.integers(0, 11)
#: Mostly the run that holds the job, as in reality; sometimes any run and any job.
RIGHTLY = st.sampled_from((True, True, True, False))


class Machine(RuleBasedStateMachine):
    """Callers, runs, operators and the reaper, one step at a time."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        client.flushdb()
        self.client = client
        self.rung: list[Doorbell] = []
        self.store = JobStore(client, self.rung.append, batch=2)  # the rest is continued
        self.store._can_wait = False  # the disk is not tested here
        for volume in VOLUMES:
            self.store.set_slots(volume, 1, 1)
        self.ids: list[str] = []
        self.holders: dict[str, str] = {}
        self.before = Ledger.read(client)

    def pick(self, number: int) -> str:
        return self.ids[number % len(self.ids)]

    def held(self, number: int, *, rightly: bool) -> tuple[str, str]:
        """A job and a run: the one that holds it, or any."""
        held = [job for job in self.ids if self.before.jobs.get(job, {}).get("run")]
        if rightly and held:
            job = held[number % len(held)]
            return job, self.before.jobs[job]["run"]
        return self.pick(number), RUNS[number % len(RUNS)]

    def step(self, move: Move | None, job: str, act: Callable[[], Any]) -> Any:
        """Make a move, then check the complete store against the table and its own rules."""
        outcome = act()
        after = Ledger.read(self.client)
        for other, record in self.before.jobs.items():
            if other in after.jobs and record["state"] != after.jobs[other]["state"]:
                assert move, f"{other} moved without a move"
                assert move in (Move.LOSE, Move.EXPIRE) or other == job, f"{move} moved {other}"
                self._allowed(other, move, after.state(other))
        after.check()
        self._slots_not_exceeded(after)
        for ring in self.rung:
            known = after.admitted(ring.job) or after.state(ring.job).ended
            assert known, "a doorbell for a job that has no slot"
            assert ring.queue == f"vol.{after.lane(ring.job).replace(':', '.')}"
        fresh = {j for j in after.jobs if after.admitted(j)} - {
            j for j in self.before.jobs if self.before.admitted(j)
        }
        assert fresh <= {ring.job for ring in self.rung}, "a job got a slot, and no doorbell rang"
        self.rung.clear()
        self.before = after
        return outcome

    def _allowed(self, job: str, move: Move, state: State) -> None:
        moves = (Move.LOSE, Move.EXPIRE) if move in (Move.LOSE, Move.EXPIRE) else (move,)
        old = self.before.state(job)
        assert any(state in TRANSITIONS.get((old, m), ()) for m in moves), (old, move, state)

    def _slots_not_exceeded(self, after: Ledger) -> None:
        for lane in {after.lane(job) for job in after.jobs}:
            was, now = len(self.before.slots(lane)), len(after.slots(lane))
            assert now <= max(was, after.limit(lane)), f"{lane} has {now} of {after.limit(lane)}"

    # -- Callers -----------------------------------------------------------------------------------
    @precondition(lambda self: len(self.ids) < 12)
    @rule(
        request=requests(),
        priority=st.sampled_from((5, 5, 0)),
        key=st.sampled_from(("", "", "k1", "k2")),
        label=st.sampled_from(("", "a")),
        late=st.sampled_from((0, 0, 0, 1)),
    )
    def submit(self, request: Request, priority: int, key: str, label: str, late: int) -> None:
        submission = Submission(
            request, priority=priority, idempotency_key=key, label=label, deadline_ms=late
        )

        def act() -> Job | None:
            try:
                return self.store.submit(submission)
            except (Locked, KeyReused):
                return None

        live = {j for j, r in self.before.jobs.items() if not self.before.state(j).ended}
        known = self.client.hget(f"{PREFIX}idem::{key}", "id") if key else None
        job = self.step(None, "", act)
        if job is None:
            assert set(self.before.jobs) >= live
        elif job.id not in self.ids:
            assert known not in self.before.jobs
            assert self.before.state(job.id) is State.QUEUED
            self.ids.append(job.id)
        if job is not None and key:
            assert self.store.submit(submission).id == job.id, "a key names one job"

    @precondition(lambda self: len(self.ids) < 6)
    @rule(batch=st.lists(requests(), min_size=4, max_size=6))
    def submit_many(self, batch: list[Request]) -> None:
        for request in batch:
            self.submit(request, 5, "", "", 0)

    @precondition(lambda self: self.ids)
    @rule(number=JOBS)
    def cancel(self, number: int) -> None:
        job = self.pick(number)

        def act() -> bool:
            try:
                self.store.cancel(job)
            except (JobNotFound, Conflict):
                return False
            return True

        record = self.before.jobs.get(job)
        open_ = record and record["final"] != "1" and not State(record["state"]).ended
        asked = self.step(Move.CANCEL, job, act)
        assert asked == bool(open_ or (record and record["state"] == "cancelled"))
        if asked:
            assert self.before.jobs[job]["cancel"] == "1"

    @precondition(lambda self: self.ids)
    @rule(number=JOBS)
    def refuse(self, number: int) -> None:
        job = self.pick(number)
        record = self.before.jobs.get(job)
        fits = bool(record and record["state"] == "queued" and record["attempt"] == "0")
        assert self.step(Move.REFUSE, job, lambda: self.store.refuse(job, "{}")) == fits

    @precondition(lambda self: self.ids)
    @rule(number=JOBS, resume=st.sampled_from((True, False)))
    def pause(self, number: int, *, resume: bool) -> None:
        job = self.pick(number)

        def act() -> None:
            try:
                self.store.pause(job, resume=resume)
            except (JobNotFound, Conflict):
                return

        self.step(None, job, act)

    # -- Operators ---------------------------------------------------------------------------------
    @rule(volume=st.sampled_from(VOLUMES), resume=st.sampled_from((True, True, False)))
    def pause_volume(self, volume: str, *, resume: bool) -> None:
        self.step(None, "", lambda: self.store.pause_volume(volume, resume=resume))

    @rule(volume=st.sampled_from(VOLUMES), fast=st.integers(0, 2), bulk=st.integers(0, 3))
    def set_slots(self, volume: str, fast: int, bulk: int) -> None:
        self.step(None, "", lambda: self.store.set_slots(volume, fast, bulk))

    @precondition(lambda self: self.ids)
    @rule(number=JOBS, rightly=RIGHTLY)
    def forget(self, number: int, *, rightly: bool) -> None:
        job = self.pick(number)
        ended = job in self.before.jobs and self.before.state(job).ended
        if rightly:
            self.client.delete(f"{PREFIX}outbox")
        published = rightly or job not in self.before.zset("outbox")

        def act() -> bool:
            try:
                self.store.forget(job)
            except (JobNotFound, Conflict):
                return False
            return True

        assert self.step(None, job, act) == (ended and published)
        if ended and published:
            assert job not in self.before.jobs
            self.ids.remove(job)

    # -- Runs --------------------------------------------------------------------------------------
    @precondition(lambda self: self.ids)
    @rule(number=JOBS, run=st.sampled_from(RUNS), rightly=RIGHTLY)
    def claim(self, number: int, run: str, *, rightly: bool) -> None:
        ready = [job for job in self.ids if self.before.admitted(job)]
        job = ready[number % len(ready)] if rightly and ready else self.pick(number)
        was = self.before.jobs.get(job)
        admitted = was is not None and self.before.admitted(job)
        rests = was is not None and self.before.paused(self.before.lane(job))
        mine = self.before.jobs.get(job, {}).get("run") == run
        outcome = self.step(
            Move.CLAIM, job, lambda: self.store.claim(job, run, f"n-{run}", LEASE_SECONDS)
        )
        assert (outcome == "ok") == (mine or (admitted and not rests)), outcome
        if outcome == "ok":
            assert self.before.jobs[job]["run"] == run, "two runs hold a job"

    @precondition(lambda self: any(r["run"] for r in self.before.jobs.values()))
    @rule(number=JOBS, rightly=RIGHTLY, final=st.sampled_from((False, False, True)))
    def heartbeat(self, number: int, *, rightly: bool, final: bool) -> None:
        job, run = self.held(number, rightly=rightly)
        record = self.before.jobs.get(job)
        if record is None:
            return
        answer = self.step(
            Move.EXPIRE,
            job,
            lambda: self.store.heartbeat(Job.from_fields(record), run, LEASE_SECONDS, final=final),
        )
        assert (answer is None) == (record["run"] != run)
        if answer is not None:
            assert answer[0] == (self.before.jobs[job]["cancel"] == "1")

    @precondition(lambda self: any(r["run"] for r in self.before.jobs.values()))
    @rule(number=JOBS, rightly=RIGHTLY)
    def release(self, number: int, *, rightly: bool) -> None:
        job, run = self.held(number, rightly=rightly)
        held = self.before.jobs.get(job, {}).get("run") == run
        ok = self.step(Move.RELEASE, job, lambda: self.store.release(job, run, "drained"))
        assert ok == held

    @precondition(lambda self: any(r["run"] for r in self.before.jobs.values()))
    @rule(number=JOBS, rightly=RIGHTLY, state=st.sampled_from([*sorted(ENDED), State.QUEUED]))
    def finish(self, number: int, state: State, *, rightly: bool) -> None:
        job, run = self.held(number, rightly=rightly)
        record = self.before.jobs.get(job, {})
        again = record.get("settled_by") == run
        held = record.get("run") == run
        may = held and state in TRANSITIONS[self.before.state(job), Move.FINISH]

        def act() -> bool:
            try:
                return self.store.finish(job, run, JobEnd(state))
            except ValueError:
                return False

        assert self.step(Move.FINISH, job, act) == (may or again)
        if may:
            assert self.before.state(job) is state

    # -- The reaper --------------------------------------------------------------------------------
    @precondition(lambda self: any(r["run"] for r in self.before.jobs.values()))
    @rule(number=JOBS, rightly=RIGHTLY)
    def lose(self, number: int, *, rightly: bool) -> None:
        job, run = self.held(number, rightly=rightly)
        held = self.before.jobs.get(job, {}).get("run") == run
        ok = self.step(Move.LOSE, job, lambda: self.store.lose(job, run, "gone", MAX_LOSSES))
        assert ok == held

    @precondition(lambda self: any(r["run"] for r in self.before.jobs.values()))
    @rule(number=JOBS)
    def reap_a_dead_lease(self, number: int) -> None:
        job, _ = self.held(number, rightly=True)
        held = job in self.before.jobs and self.before.state(job) in HELD
        self.client.zadd(f"{PREFIX}due", {job: 1}, xx=True)
        lost, poisoned, _ = self.step(Move.LOSE, job, lambda: self.store.reap(MAX_LOSSES))
        assert lost + poisoned == held

    @rule()
    def reap(self) -> None:
        self.step(Move.EXPIRE, "", lambda: self.store.reap(MAX_LOSSES))

    @rule()
    def sweep(self) -> None:
        self.step(None, "", lambda: self.client.delete(f"{PREFIX}outbox"))  # all ends are published
        self.step(None, "", lambda: self.store.sweep(-1, -1))
        self.ids = [job for job in self.ids if job in self.before.jobs]
        assert not any(self.before.state(job).ended for job in self.ids)

    def teardown(self) -> None:
        """End every job, as runs do, and check that nothing is left."""
        for volume in VOLUMES:
            self.step(None, "", lambda v=volume: self.store.pause_volume(v, resume=True))
            self.step(None, "", lambda v=volume: self.store.set_slots(v, 3, 3))
        for job in self.ids:
            if self.before.jobs[job]["pause"] == "1" and not self.before.state(job).ended:
                self.step(None, job, lambda j=job: self.store.pause(j, resume=True))
        for _ in self.ids:
            for job in self.ids:
                if self.before.admitted(job):
                    self.step(Move.CLAIM, job, lambda j=job: self.store.claim(j, "z", "n", 9))
                if self.before.state(job) in HELD:
                    run = self.before.jobs[job]["run"]
                    end = JobEnd(State.FAILED)
                    self.step(
                        Move.FINISH, job, lambda j=job, r=run, e=end: self.store.finish(j, r, e)
                    )
        self.client.delete(f"{PREFIX}outbox")
        stuck = [job for job in self.ids if not self.before.state(job).ended]
        assert not stuck, f"no run can ever take {stuck}"
        self.store.sweep(-1, -1)
        left = {key for key in self.client.keys(f"{PREFIX}*") if ":idem:" not in key}
        assert left <= {
            f"{PREFIX}{name}" for name in ("seq", "layout", "limits", "paused", "outbox:seq")
        }


def test_random_interleavings(valkey: Valkey, redis_client: Redis) -> None:
    with valkey.client(1) as client:
        run_state_machine_as_test(
            lambda: Machine(client),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                derandomize=True,
                database=None,
                deadline=None,
                phases=(Phase.explicit, Phase.generate),
                suppress_health_check=list(HealthCheck),
            ),
        )
