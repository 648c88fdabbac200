"""The event bus of the cluster: publishes jobs and nodes to the manager. Knows no storage."""

from core.events.artifacts import (
    import_event,
    import_mark,
    metadata_event,
    verifying_event,
)
from core.events.bus import CHANNEL, Bus, Event, JobEndEvent, clean, progress_event, recent_events
from core.events.counting import task_name
from core.events.endings import end_message
from core.events.publisher import EventPublisher

__all__ = [
    "CHANNEL",
    "Bus",
    "Event",
    "EventPublisher",
    "JobEndEvent",
    "clean",
    "end_message",
    "import_event",
    "import_mark",
    "metadata_event",
    "progress_event",
    "recent_events",
    "task_name",
    "verifying_event",
]
