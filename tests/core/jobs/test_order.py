"""The order of admission: thousands of random moves in the store and in a simple model."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from redis import Redis

from core.jobs import Lane
from core.jobs.job import State
from core.jobs.requests import Lock, Request, lock_key
from core.jobs.store import Doorbell, JobEnd, JobStore, Submission
from tests.core.jobs.ledger import Ledger
from tests.core.jobs.queue_model import ModelJob, QueueModel
from tests.support.valkey import Valkey

SCOPES = tuple(f"user:{UUID(int=number)}" for number in range(1, 5))
FOLDERS = tuple(f"{SCOPES[0]}/{UUID(int=number).hex}" for number in range(10, 16))
VOLUMES = ("v", "w")
MOVES = 2000
#: The store is compared as a whole after so many moves.
LEDGER_EVERY = 100
#: The live jobs that a run keeps to.
LIVE_MAX = 60


class Work(Request, frozen=True, kw_only=True, tag="work"):
    """A request that needs any locks, for any scope; no verb of the service."""

    needs: list[Lock]
    of: str
    fast: bool = False

    @property
    def lane(self) -> Lane:
        return Lane.FAST if self.fast else Lane.BULK

    def locks(self) -> list[Lock]:
        return self.needs

    def scope(self) -> str:
        return self.of


@dataclass
class Pair:
    """The store and the model, which take the same moves."""

    store: JobStore
    bells: list[Doorbell]
    random: random.Random
    model: QueueModel = field(default_factory=QueueModel)

    def both(self, store: Callable[[], object], model: Callable[[], object]) -> None:
        store()
        model()
        rung: dict[tuple[str, str], list[str]] = {}
        for bell in self.bells:
            _, volume, lane = bell.queue.split(".")
            rung.setdefault((volume, lane), []).append(bell.job)
        assert rung == self.model.rung
        self.bells.clear()
        self.model.rung.clear()

    def pick(self, *, admitted: bool) -> str | None:
        names = [job.name for job in self.model.jobs.values() if job.admitted is admitted]
        return self.random.choice(names) if names else None

    def submit(self) -> None:
        draw = self.random
        volume, fast = draw.choice(VOLUMES), draw.random() < 0.2
        names = draw.sample(FOLDERS, draw.choice((1, 1, 2)))
        needs = [
            (lock_key("v", name), draw.choice(("shared", "shared", "exclusive"))) for name in names
        ]
        work = Work(volume=volume, needs=needs, of=draw.choice(SCOPES), fast=fast)
        priority = draw.choice((5, 5, 5, 0, 9))
        made: list[str] = []
        self.both(
            lambda: made.append(self.store.submit(Submission(work, priority=priority)).id),
            lambda: self.model.submit(
                ModelJob(made[0], (volume, work.lane.value), priority, work.of, needs, 0)
            ),
        )

    def claimed(self) -> str | None:
        """A job that a run has just taken up; None when there is none."""
        name = self.pick(admitted=True)
        if name is None or self.store.claim(name, "run", "node", 3600) == "ok":
            return name
        self.model.lose_slot(name)
        return None

    def end(self) -> None:
        if name := self.claimed():
            end = JobEnd(State.SUCCEEDED)
            self.both(lambda: self.store.finish(name, "run", end), lambda: self.model.end(name))

    def put_back(self) -> None:
        if name := self.claimed():
            self.both(
                lambda: self.store.release(name, "run", "drained"),
                lambda: self.model.put_back(name),
            )

    def cancel(self) -> None:
        name = self.pick(admitted=self.random.random() < 0.2)
        if name and not self.model.jobs[name].ran:
            self.both(lambda: self.store.cancel(name), lambda: self.model.end(name))

    def pause(self) -> None:
        name = self.pick(admitted=self.random.random() < 0.3)
        if name and not self.model.jobs[name].paused:
            self.both(lambda: self.store.pause(name), lambda: self.model.pause(name))

    def resume(self) -> None:
        names = [job.name for job in self.model.jobs.values() if job.paused]
        if names:
            name = self.random.choice(names)
            self.both(lambda: self.store.pause(name, resume=True), lambda: self.model.resume(name))

    def pause_volume(self) -> None:
        self.both(lambda: self.store.pause_volume("w"), lambda: self.model.pause_volume("w"))

    def resume_volume(self) -> None:
        self.both(
            lambda: self.store.pause_volume("w", resume=True),
            lambda: self.model.resume_volume("w"),
        )

    def set_slots(self) -> None:
        volume, fast, bulk = (
            self.random.choice(VOLUMES),
            self.random.randint(0, 2),
            self.random.randint(0, 4),
        )

        def model() -> None:
            self.model.set_slots((volume, "fast"), fast)
            self.model.set_slots((volume, "bulk"), bulk)

        self.both(lambda: self.store.set_slots(volume, fast, bulk), model)

    def explained(self) -> None:
        """What a waiting job waits for is the oldest job in the way of its first lock."""
        for job in self.model.jobs.values():
            if job.admitted or job.paused:
                continue
            fields = self.store.get(job.name).fields
            found = self.model.blocker(job)
            assert fields["waits_for"] == (found[1] if found else "")
            if found is None:
                assert fields["reason"] == "waiting for a slot"


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_store_admits_in_the_order_of_the_rules(
    valkey: Valkey, redis_client: Redis, seed: int, batch: int
) -> None:
    with valkey.client(1) as client:
        bells: list[Doorbell] = []
        store = JobStore(client, bells.append, batch=batch)
        store._can_wait = False  # the disk is not tested here
        pair = Pair(store, bells, random.Random(seed))
        for volume in VOLUMES:
            store.set_slots(volume, 1, 2)
            pair.model.slots |= {(volume, "fast"): 1, (volume, "bulk"): 2}
        moves = [pair.submit] * 8 + [pair.end] * 6 + [pair.put_back] * 2 + [pair.cancel]
        moves += [pair.pause, pair.resume, pair.resume, pair.set_slots]
        moves += [pair.pause_volume, pair.resume_volume, pair.resume_volume]
        for number in range(MOVES):
            full = len(pair.model.jobs) >= LIVE_MAX
            (pair.end if full else pair.random.choice(moves))()
            if number % LEDGER_EVERY == 0:
                Ledger.read(client).check()
                pair.explained()
