"""Jobs in Redis: the records, the moves, the lists. Knows no queue broker: a `Ringer` sends.

Every move is one Lua script: a crash leaves a job before a move or after it, never between. A
script that frees or fills a slot returns the doorbells to ring. The reaper rings again for a lost
doorbell, so sending one may fail.
"""

from core.jobs.store.lists import INDEXED, PAGE_DEFAULT, PAGE_MAX, JobLists, Query, QueuePosition
from core.jobs.store.loading import script_texts
from core.jobs.store.messages import PREFIX, TASK_PREFIX, Doorbell, JobEnd, Ringer, Submission
from core.jobs.store.purges import PurgeRates, RunningPurges
from core.jobs.store.queues import Queues, RunningJob, WaitingLane, read_queues
from core.jobs.store.store import LIVE_CHANNEL, JobStore

__all__ = [
    "INDEXED",
    "LIVE_CHANNEL",
    "PAGE_DEFAULT",
    "PAGE_MAX",
    "PREFIX",
    "TASK_PREFIX",
    "Doorbell",
    "JobEnd",
    "JobLists",
    "JobStore",
    "PurgeRates",
    "Query",
    "QueuePosition",
    "Queues",
    "Ringer",
    "RunningJob",
    "RunningPurges",
    "Submission",
    "WaitingLane",
    "read_queues",
    "script_texts",
]
