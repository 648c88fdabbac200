"""The outbox: every ended job whose end is not published yet.

The script that ends a job adds it here in the same step (`settle`), for every kind of end: by its
run, cancelled while it waited, past its deadline, or as poison. Any number of processes may empty
the outbox at once. The script that publishes an end also marks it as published on the events'
server. So a process that dies between publishing and removing costs only a second look.

Each end is published exactly once when the events' server loses nothing that it has confirmed. A
server that loses its last second may publish the ends of that second again, or not at all. The
order is kept.
"""

from typing import cast

import redis

from core.errors import StorageError
from core.events.artifacts import ended_imports
from core.events.bus import Bus
from core.events.counting import count_end
from core.events.endings import end_event_of
from core.jobs import Job
from core.jobs.store import PREFIX
from core.telemetry import logger

#: Ended jobs taken per round trip.
BATCH = 100
#: A process that dies while it publishes keeps the others away for this long.
PUBLISHER_SECONDS = 5.0

_OUTBOX = PREFIX + "outbox"
#: The mark of the one process that publishes. It only spares the others the work.
_PUBLISHER = PREFIX + "outbox:publisher"
_TAKE = """
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)
if #ids == 0 or not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then return {} end
return ids
"""
_log = logger(__name__)


class Outbox:
    """Publishes the ends that are not published yet; safe to use from any process."""

    def __init__(self, jobs: "redis.Redis", bus: Bus) -> None:
        self._jobs = jobs
        self._bus = bus
        self._take = jobs.register_script(_TAKE)

    def flush(self) -> int:
        """Publish every waiting end, oldest first; return how many this call published.

        While another process publishes, this returns at once: that process publishes what comes
        meanwhile, too.

        Raises:
            redis.RedisError: a server does not answer; the other ends wait for the next call.
        """
        published = 0
        arguments = [int(PUBLISHER_SECONDS * 1000), BATCH]
        while ids := self._take(keys=[_OUTBOX, _PUBLISHER], args=arguments):
            try:
                for job in ids:
                    published += self._publish(job)
            finally:
                self._jobs.delete(_PUBLISHER)
        return published

    def _publish(self, job: str) -> bool:
        fields = cast("dict[str, str]", self._jobs.hgetall(f"{PREFIX}job:{job}"))
        published = False
        try:
            record = Job.from_fields(fields, job)
            for mark, event in ended_imports(record):
                self._bus.stream_once(mark, event)
            published = self._bus.publish_end(end_event_of(record))
            if published:
                count_end(record)
        except (KeyError, ValueError, TypeError, StorageError):
            # A record that cannot be read now never can; it must not block the ends behind it.
            _log.exception("job end not publishable", job_id=job)
        self._jobs.zrem(_OUTBOX, job)
        return published

    def try_flush(self) -> int:
        """Publish as `flush` does; a server that does not answer is only logged.

        Upkeep and doors call it again and again, so the ends are published later.
        """
        try:
            return self.flush()
        except redis.RedisError as error:
            _log.warning("job ends not published", reason=type(error).__name__)
            return 0
