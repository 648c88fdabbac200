"""What moves carry: a new job, the end of one, and the doorbell that is rung for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from core.jobs import requests
from core.jobs.job import PRIORITY_DEFAULT, State
from core.jobs.requests import Request
from core.redis import dumps

#: Before every key of ours.
PREFIX = "vf:"
#: Celery's names of our tasks: `storage.clone`, `storage.delete` …
TASK_PREFIX = "storage."
#: A waiting job whose doorbell may be lost is rung again after this long, then ever more seldom.
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
        """The name of the Celery task: a sentence's verb."""
        return TASK_PREFIX + self.verb


#: Sends one doorbell to the broker. It does not raise: the reaper rings again for a lost doorbell.
Ringer = Callable[[Doorbell], None]


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything a new job is made of."""

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
        """Equal for equal requests: what decides between the same job and a misuse of a key."""
        text = requests.encode(self.request) + f"\n{self.label}\n{self.priority}"
        return sha256(text.encode()).hexdigest()

    def record(self) -> dict[str, str]:
        """The fields of the new record that the caller decides."""
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
    """How a run ends a job; the texts are JSON or empty."""

    state: State
    result: str = ""
    error: str = ""
    progress: str = ""
