"""The event bus of the cluster: what the manager and its callers learn of our work.

Two ways out, as the manager reads them: a stream (`events`), where one consumer of a group takes
each event, and a channel (`events_all`) that everybody hears, with the last message of a job kept
under a key for those who come late. Each message carries its body twice, for both generations of
readers: `args`, a msgpack array by position, and `payload`, a JSON object by name. It carries no
`metadata`: a member unknown to the reader would break it.

That an end is told, and told once, is the outbox's business (`core.events.outbox`).
"""

from core.events.bus import CHANNEL, Bus, Event, JobEndEvent, clean, progress_event
from core.events.publisher import EventPublisher

__all__ = [
    "CHANNEL",
    "Bus",
    "Event",
    "EventPublisher",
    "JobEndEvent",
    "clean",
    "progress_event",
]
