"""Tells of jobs as they go: accepted, started, at work, ended. Never stands in the work's way."""

import time
from typing import Any

import redis

from core.events.bus import Bus, Event, progress_event
from core.events.outbox import Outbox
from core.jobs import Job
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: Progress of one job is told this often at most (seconds).
PROGRESS_SECONDS = 2.0
#: And this often at least, so that the kept message does not run out.
REPEAT_SECONDS = 60.0

_log = logger(__name__)


class EventPublisher:
    """The voice of one process; made after the fork. What cannot be told is logged.

    Starts and progress are told as well as can be; the end of a job is told without fail, by the
    outbox.
    """

    def __init__(self, settings: Settings) -> None:
        self.bus = Bus(connect(settings, Database.EVENTS))
        self.outbox = Outbox(connect(settings, Database.JOBS), self.bus)
        self._last: tuple[str, str, float] = ("", "", 0.0)

    def accepted(self, job: Job) -> None:
        """A job was asked for: whoever follows it at once finds something."""
        self._update(job.id, 0.0, 0.0, "The job was accepted.", first=True)

    def started(self, job: Job) -> None:
        """A run begins."""
        self._update(job.id, 0.0, 0.0, "The job has started.")

    def progressed(self, job: str, snapshot: dict[str, Any]) -> None:
        """A run goes on: `snapshot` as `Progress.snapshot` gives it."""
        last, text, at = self._last
        silent = time.monotonic() - at
        if last == job and silent < (
            REPEAT_SECONDS if text == snapshot["text"] else PROGRESS_SECONDS
        ):
            return
        self._last = job, snapshot["text"], time.monotonic()
        done, total = snapshot["done_bytes"], snapshot["total_bytes"]
        if not total:
            done, total = snapshot["done_items"], snapshot["total_items"]
        self._update(job, float(done or 0), float(total or 0), snapshot["text"])

    def node_joined(self, node: str, volumes: list[str]) -> None:
        """A node has come, or come back."""
        self._broadcast(Event("node_joined", {"node_id": node, "volumes": volumes}))

    def node_left(self, node: str, reason: str) -> None:
        """A node has gone: `stopped` on purpose, `lost` when it fell silent."""
        self._broadcast(Event("node_left", {"node_id": node, "reason": reason}))

    def _broadcast(self, event: Event) -> None:
        _log.info("event told", name=event.name, **event.fields)
        try:
            self.bus.broadcast(event)
        except redis.RedisError as error:
            _log.warning("event not told", name=event.name, reason=type(error).__name__)

    def ended(self) -> None:
        """Some job ended: tell every end that was not told."""
        self.outbox.try_flush()

    def _update(
        self, job: str, done: float, total: float, message: str, *, first: bool = False
    ) -> None:
        try:
            self.bus.publish_progress(job, progress_event(job, done, total, message), first=first)
        except redis.RedisError as error:
            _log.warning("progress not told", reason=type(error).__name__)
