"""Jobs at the doors: submit, plan, follow, report, retry. Knows no route and no worker."""

from api.jobs import reports
from api.jobs.doorbell import check_broker
from api.jobs.feed import Feed, FeedFollower, FeedReader, JobReads
from api.jobs.live import WAIT_MAX_SECONDS, Live
from api.jobs.plans import JobPlanner
from api.jobs.submission import MANAGER, Jobs, JobSubmission, pointer, retry_after

__all__ = [
    "MANAGER",
    "WAIT_MAX_SECONDS",
    "Feed",
    "FeedFollower",
    "FeedReader",
    "JobPlanner",
    "JobReads",
    "JobSubmission",
    "Jobs",
    "Live",
    "check_broker",
    "pointer",
    "reports",
    "retry_after",
]
