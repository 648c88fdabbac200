"""Show in Flower the ends of jobs that no task of Celery ended.

Celery reports the end of a task that ran. A job that was cancelled in the queue, refused, or failed
as poison has none: its task would wait in Flower forever, or be missing. The leader of the cluster
looks at the jobs that ended lately and sends their ends. An end that is sent twice does no harm.
"""

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from core.errors import StorageError
from core.events import end_message
from core.jobs import Job, State, requests
from core.jobs.store import TASK_PREFIX, JobLists
from core.telemetry import logger
from workers.node import celery_internals

_log = logger(__name__)

#: A new leader looks back for so long (milliseconds): the former one may have missed the last ends.
LOOK_BACK_MS = 10_000
#: Flower's state of a cancelled job. Celery's own `REVOKED` cannot follow the state of progress.
CANCELLED_EVENT = "task-cancelled"


class FlowerEnds:
    """The looks of one process; `node` is the name under which the worker sends its events."""

    def __init__(self, app: Celery, client: "redis.Redis", node: str) -> None:
        self._app = app
        self._lists = JobLists(client)
        self._node = node
        self._since_ms: int | None = None
        self._shown: set[str] = set()

    def show(self) -> None:
        """Send the ends since the last look; without the store or the broker, later or never."""
        try:
            since_ms = self._since_ms
            if since_ms is None:
                since_ms = self._lists.now_ms() - LOOK_BACK_MS
            ended = self._lists.ended_since(since_ms)
            for job in ended:
                if job.id not in self._shown and not job.fields.get("settled_by"):
                    self._send_readable(job)
        except (redis.RedisError, OperationalError, OSError) as error:
            _log.info("ends not shown", reason=type(error).__name__)
            return
        # Ends of the same millisecond may come later: the next look sees the last ones again.
        self._shown = {job.id for job in ended}
        moments = (int(job.fields["ended_at"]) for job in ended if "ended_at" in job.fields)
        self._since_ms = max(moments, default=since_ms)

    def pause(self) -> None:
        """Forget the last look: another node shows the ends now."""
        self._since_ms = None

    def _send_readable(self, job: Job) -> None:
        """Send an end; a record of another version that cannot be read has none."""
        try:
            self._send(job)
        except (KeyError, ValueError, TypeError, StorageError):
            _log.exception("end not shown", job_id=job.id)

    def _send(self, job: Job) -> None:
        facts = {
            "uuid": job.id,
            "name": TASK_PREFIX + job.verb,
            "args": f"({requests.parse(job.member('request')).title()})",
        }
        said = end_message(job)
        if job.state is State.CANCELLED:
            facts["result"] = said
            celery_internals.send_task_event(self._app, self._node, CANCELLED_EVENT, **facts)
        else:
            facts |= {"exception": said, "traceback": ""}
            celery_internals.send_task_event(self._app, self._node, "task-failed", **facts)
