"""The data of moves: a new job, the end of a job, and a doorbell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from core.jobs import requests
from core.jobs.job import PRIORITY_DEFAULT, State
from core.jobs.requests import Request
from core.redis import dumps

#: The prefix of all our keys.
PREFIX = "vf:"
#: The prefix of our Celery tasks: `storage.clone`, `storage.delete` …
TASK_PREFIX = "storage."
#: The reaper rings again for a waiting job after this long, then after ever longer pauses.
RING_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Doorbell:
    """The message that a job has a slot and waits for a worker."""

    job: str
    queue: str
    priority: int
    verb: str
    title: str

    @property
    def task(self) -> str:
        """Return the name of the Celery task."""
        return TASK_PREFIX + self.verb


#: Sends one doorbell to the broker. It does not raise: the reaper rings again for a lost doorbell.
Ringer = Callable[[Doorbell], None]


@dataclass(frozen=True, slots=True)
class Submission:
    """All facts of a new job."""

    request: Request
    requester: str = ""
    label: str = ""
    priority: int = PRIORITY_DEFAULT
    idempotency_key: str = ""
    deadline_ms: int = 0
    retry_of: str = ""
    ring_again_seconds: float = RING_AGAIN_SECONDS
    extra: dict[str, str] = field(default_factory=dict)

    def body_hash(self) -> str:
        """Return a hash that is equal for equal requests.

        A repeated key with the same hash gets the same job; with another hash it is an error.
        """
        text = requests.encode(self.request) + f"\n{self.label}\n{self.priority}"
        return sha256(text.encode()).hexdigest()

    def record(self) -> dict[str, str]:
        """Return the fields of the new record that depend on the caller."""
        request = self.request
        natural = request.natural_key()
        locks = request.locks()
        fields = {
            "verb": request.verb,
            "volume": request.home,
            "lane": request.lane.value,
            "scope": request.scope(),
            "request": requests.encode(request),
            "locks": dumps(locks),
            "title": request.title(),
            "natural": f"{request.verb}:{natural}" if natural else "",
            "requester": self.requester,
            "label": self.label,
            "priority": str(self.priority),
            "retry_of": self.retry_of,
            "ring_again": str(int(self.ring_again_seconds * 1000)),
        }
        if self.deadline_ms:
            fields["deadline_at"] = str(self.deadline_ms)
        if request.pace:
            fields["bandwidth"] = str(request.pace)
        return fields | self.extra


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job, as a run reports it; the texts are JSON or empty."""

    state: State
    result: str = ""
    error: str = ""
    progress: str = ""
