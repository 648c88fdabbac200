"""Publishes the life of jobs: accepted, started, progressed, ended. It never fails the work."""

import time
from collections.abc import Callable
from typing import Any

import redis

from core.events.bus import Bus, Event, progress_event
from core.events.outbox import Outbox
from core.jobs import Job
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: Shortest pause between two progress events of a job (seconds).
PROGRESS_SECONDS = 2.0
#: Longest pause (seconds), so that the kept message does not expire.
REPEAT_SECONDS = 60.0

_log = logger(__name__)


class EventPublisher:
    """Publishes the events of one process; made after the fork.

    Starts and progress may get lost; this is logged. The end of a job is never lost: the outbox
    keeps it until it is published.
    """

    def __init__(self, settings: Settings) -> None:
        self.bus = Bus(connect(settings, Database.EVENTS))
        self.outbox = Outbox(connect(settings, Database.JOBS), self.bus)
        self._last: tuple[str, str, float] = ("", "", 0.0)

    def accepted(self, job: Job) -> None:
        """Publish that a job was accepted, so that an early subscriber finds a message."""
        self._update(job.id, 0.0, 0.0, "The job was accepted.", first=True)

    def started(self, job: Job) -> None:
        """Publish that a run began."""
        self._update(job.id, 0.0, 0.0, "The job has started.")

    def progressed(self, job: str, snapshot: dict[str, Any]) -> None:
        """Publish the progress of a run: a `Progress.snapshot`."""
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

    def once(self, mark: str, event: Event) -> None:
        """Publish an event to the manager, unless it was published under this mark before."""
        self._quietly(event, lambda: self.bus.stream_once(mark, event))

    def stream(self, event: Event) -> None:
        """Publish an event to the manager."""
        self._quietly(event, lambda: self.bus.stream(event))

    @staticmethod
    def _quietly(event: Event, send: Callable[[], object]) -> None:
        try:
            send()
        except redis.RedisError as error:
            _log.warning("event not published", name=event.name, reason=type(error).__name__)

    def node_joined(self, node: str, volumes: list[str]) -> None:
        """Publish that a node came, or came back."""
        self._broadcast(Event("node_joined", {"node_id": node, "volumes": volumes}))

    def node_left(self, node: str, reason: str) -> None:
        """Publish that a node left: `stopped` on purpose, `lost` when it fell silent."""
        self._broadcast(Event("node_left", {"node_id": node, "reason": reason}))

    def _broadcast(self, event: Event) -> None:
        _log.info("event published", name=event.name, **event.fields)
        self._quietly(event, lambda: self.bus.broadcast(event))

    def ended(self) -> None:
        """Publish every end that is not published yet: some job ended."""
        self.outbox.try_flush()

    def _update(
        self, job: str, done: float, total: float, message: str, *, first: bool = False
    ) -> None:
        try:
            self.bus.publish_progress(job, progress_event(job, done, total, message), first=first)
        except redis.RedisError as error:
            _log.warning("progress not published", reason=type(error).__name__)
