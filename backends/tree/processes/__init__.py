"""The helpers that do the work of an engine, and what they share. Knows no engine."""

from backends.tree.processes.backlog import RECORDS_IN_MEMORY, Backlog, Sorter
from backends.tree.processes.channel import REPORT_SECONDS, HelperChannel, Message
from backends.tree.processes.effort import DEFAULT_EFFORT, Effort, Throttle
from backends.tree.processes.helper_pool import Crew, giving
from backends.tree.processes.helper_process import threads_fit

__all__ = [
    "DEFAULT_EFFORT",
    "RECORDS_IN_MEMORY",
    "REPORT_SECONDS",
    "Backlog",
    "Crew",
    "Effort",
    "HelperChannel",
    "Message",
    "Sorter",
    "Throttle",
    "giving",
    "threads_fit",
]
