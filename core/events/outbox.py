"""The outbox: every ended job whose end was not told yet.

The script that ends a job puts it here in the same step (`settle`), however the job ends: by its
run, cancelled while it waited, past its deadline, or as poison. Any number of senders may empty the
outbox at once. What one of them delivers is marked on the events' server in the very script that
sends it, so a sender that dies between delivering and removing costs nothing but a second look.

With the events on the same server, or on another that loses nothing it has confirmed, each end is
told exactly once. A server that comes back without its last second may tell the ends of that second
again or not at all, as it does with everybody's data; order is kept.
"""

from typing import cast

import redis

from core.errors import StorageError
from core.events.bus import Bus
from core.events.endings import end_event_of
from core.jobs import Job
from core.jobs.store import PREFIX
from core.telemetry import logger, metrics

#: Ended jobs taken per round trip.
BATCH = 100

_OUTBOX = PREFIX + "outbox"
_log = logger(__name__)


class Outbox:
    """Sends what was not sent yet; safe to call from any process."""

    def __init__(self, jobs: "redis.Redis", bus: Bus) -> None:
        self._jobs = jobs
        self._bus = bus

    def flush(self) -> int:
        """Tell every untold end, oldest first; returns how many were told here.

        Raises:
            redis.RedisError: a server is away; what was not told stays for the next call.
        """
        told = 0
        while ids := cast("list[str]", self._jobs.zrange(_OUTBOX, 0, BATCH - 1)):
            for job in ids:
                told += self._tell(job)
        return told

    def _tell(self, job: str) -> bool:
        fields = cast("dict[str, str]", self._jobs.hgetall(f"{PREFIX}job:{job}"))
        told = False
        try:
            record = Job.from_fields(fields)
            told = self._bus.publish_end(end_event_of(record))
            if told:
                _count(record)
        except (KeyError, ValueError, TypeError, StorageError):
            # A record that cannot be read will never be; it must not stop those behind it.
            _log.exception("end of a job cannot be told", job_id=job)
        self._jobs.zrem(_OUTBOX, job)
        return told

    def try_flush(self) -> int:
        """As `flush`, but a server that is away is only logged: somebody comes again."""
        try:
            return self.flush()
        except redis.RedisError as error:
            _log.warning("ends not told yet", reason=type(error).__name__)
            return 0


def _count(job: Job) -> None:
    """Count an ended job where its end is told: once in the cluster, by whoever tells it."""
    metrics.JOBS.labels(job.verb, job.state.value).inc()
    seconds = (int(job.fields["ended_at"]) - int(job.fields["created_at"])) / 1000
    metrics.JOB_SECONDS.labels(job.verb).observe(max(0.0, seconds))
    result = job.member("result") or {}
    if "copied_bytes" in result:
        labels = job.volume, str(result.get("method") or "stream")
        metrics.COPIED_BYTES.labels(*labels).inc(result["copied_bytes"])
        metrics.COPIED_ITEMS.labels(*labels).inc(result.get("files", 0))
