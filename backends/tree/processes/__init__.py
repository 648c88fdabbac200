"""Helper processes and threads that work on batches for an engine. Knows no engine."""

from backends.tree.processes.backlog import RECORDS_IN_MEMORY, Backlog, Sorter
from backends.tree.processes.channel import REPORT_SECONDS, HelperChannel, Message
from backends.tree.processes.effort import DEFAULT_EFFORT, Effort, Throttle
from backends.tree.processes.helper_pool import HelperPool
from backends.tree.processes.helper_process import Work, threads_fit

__all__ = [
    "DEFAULT_EFFORT",
    "RECORDS_IN_MEMORY",
    "REPORT_SECONDS",
    "Backlog",
    "Effort",
    "HelperChannel",
    "HelperPool",
    "Message",
    "Sorter",
    "Throttle",
    "Work",
    "threads_fit",
]
