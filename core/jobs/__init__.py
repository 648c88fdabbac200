"""Jobs: record, requests, store, progress, control. Knows no queue broker and no storage."""

from core.jobs.access import AccessEnd, JobAccess, access_of
from core.jobs.control import (
    Cancelled,
    Control,
    Counter,
    Interrupted,
    LeaseLost,
    Released,
    Unattended,
    checked_pause,
)
from core.jobs.job import (
    PRIORITY_DEFAULT,
    PRIORITY_FIRST,
    PRIORITY_LAST,
    Job,
    Lane,
    State,
    queue_name,
)
from core.jobs.progress import JobSummary, Progress, summary

__all__ = [
    "PRIORITY_DEFAULT",
    "PRIORITY_FIRST",
    "PRIORITY_LAST",
    "AccessEnd",
    "Cancelled",
    "Control",
    "Counter",
    "Interrupted",
    "Job",
    "JobAccess",
    "JobSummary",
    "Lane",
    "LeaseLost",
    "Progress",
    "Released",
    "State",
    "Unattended",
    "access_of",
    "checked_pause",
    "queue_name",
    "summary",
]
