"""A job store on a real, empty Valkey; the doorbells it rings are kept in a list."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from redis import Redis

from core.jobs import Job, State
from core.jobs.requests import CloneRequest, DeleteRequest, UsageRequest
from core.jobs.store import PREFIX, Doorbell, JobEnd, JobStore, Submission
from tests.support.valkey import Valkey

#: Longer than any test: leases end only when a test lets their time pass.
LEASE_SECONDS = 3600.0
PAST = 1


@dataclass
class Desk:
    """A store with slots for two volumes, and the doorbells it sent."""

    store: JobStore
    bells: list[Doorbell] = field(default_factory=list)

    @property
    def redis(self) -> Redis:
        return self.store.redis

    def rung(self) -> list[str]:
        ids = [ring.job for ring in self.bells]
        self.bells.clear()
        return ids

    def usage(self, folder: str, volume: str = "v", **more: object) -> Job:
        return self.store.submit(Submission(UsageRequest(volume=volume, vfolder=folder), **more))  # type: ignore[arg-type] # keyword passing

    def delete(self, folder: str, **more: object) -> Job:
        return self.store.submit(Submission(DeleteRequest(volume="v", vfolder=folder), **more))  # type: ignore[arg-type] # keyword passing

    def clone(self, source: str, target: str, **more: object) -> Job:
        request = CloneRequest(volume="v", source=source, target=target)
        return self.store.submit(Submission(request, **more))  # type: ignore[arg-type] # keyword passing

    def claim(self, job: Job, run: str = "r1", node: str = "n1") -> str:
        return self.store.claim(job.id, run, node, LEASE_SECONDS)

    def finish(self, job: Job, run: str = "r1", state: State = State.SUCCEEDED) -> bool:
        return self.store.finish(job.id, run, JobEnd(state, result='{"ok":true}'))

    def state(self, job: Job) -> State:
        return self.store.get(job.id).state

    def reason(self, job: Job) -> str:
        return self.store.get(job.id).fields["reason"]

    def let_pass(self, job: Job) -> None:
        """Move the time when the reaper looks at a job, and its deadline, into the past."""
        redis = self.store.redis
        redis.zadd(f"{PREFIX}due", {job.id: PAST}, xx=True)
        if redis.zadd(f"{PREFIX}deadlines", {job.id: PAST}, xx=True, ch=True):
            redis.hset(f"{PREFIX}job:{job.id}", "deadline_at", PAST)


SCOPE = UUID(int=7)


def folder(scope: UUID = SCOPE) -> str:
    return f"user:{scope}/{uuid4().hex}"


@pytest.fixture
def desk(valkey: Valkey, redis_client: Redis) -> Desk:
    bells: list[Doorbell] = []
    store = JobStore(Redis.from_url(f"{valkey.url}/1", decode_responses=True), bells.append)
    store.set_slots("v", 2, 2)
    return Desk(store, bells)
