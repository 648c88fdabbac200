"""Jobs: record, requests, store, progress, control. Knows no queue broker and no storage."""

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
    "Cancelled",
    "Control",
    "Counter",
    "Interrupted",
    "Job",
    "JobSummary",
    "Lane",
    "LeaseLost",
    "Progress",
    "Released",
    "State",
    "Unattended",
    "checked_pause",
    "queue_name",
    "summary",
]
