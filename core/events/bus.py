"""The event bus of the cluster: what the manager and its callers learn of our work.

Two ways out, as the manager reads them: a stream (`events`), where one consumer of a group takes
each event, and a channel (`events_all`) that everybody hears, with the last message of a job kept
under a key for those who come late. Each message carries its body twice, for both generations of
readers: `args`, a msgpack array by position, and `payload`, a JSON object by name. It carries no
`metadata`: a member unknown to the reader would break it.

That an end is told, and told once, is the outbox's business (`core.events.outbox`).
"""

import time
from base64 import b64encode
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec
import orjson
import redis

#: The stream of events that one consumer takes.
STREAM = "events"
#: The channel of events that everybody hears.
CHANNEL = "events_all"
#: The stream is cut to about this many entries, as all its writers do.
STREAM_LENGTH = 128
#: Who sends: a constant of the cluster's protocol, not a node's name.
SOURCE = "storage"
#: The last message of a job is kept this long under its key (seconds).
CACHE_SECONDS = 300
#: That a job's end was told is remembered this long (seconds): far longer than an outbox entry
#: stays once it was delivered.
TOLD_SECONDS = 7 * 86_400
#: After a failure nothing is tried for this long, so that a server that hangs costs little.
REST_SECONDS = 2.0

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name and its fields, in the order that msgpack readers rely on."""

    name: str
    fields: Fields
    #: The positional body, where it is not simply the fields' values.
    positional: list[Any] | None = None

    @property
    def args(self) -> bytes:
        """The body as older readers want it: a msgpack array."""
        values = list(self.fields.values()) if self.positional is None else self.positional
        return msgspec.msgpack.encode(values)

    @property
    def payload(self) -> bytes:
        """The body as newer readers want it: a JSON object."""
        return orjson.dumps(self.fields)

    def broadcast(self) -> bytes:
        """The whole message for the channel and the kept key: JSON, so `args` is base64 text."""
        return orjson.dumps(
            {
                "name": self.name,
                "source": SOURCE,
                "args": b64encode(self.args).decode(),
                "payload": self.payload.decode(),
            }
        )


@dataclass(frozen=True, slots=True)
class JobEndEvent:
    """What the end of a job makes known: first to the manager, then to whoever follows the job."""

    job: str
    last: Event
    stream: list[Event] = field(default_factory=list)


def cache_key(job: str) -> str:
    """Where the last message of a job is kept."""
    return f"bgtask.{job}"


def progress_event(job: str, done: float, total: float, message: str) -> Event:
    """The event of a job that goes on."""
    return Event(
        "bgtask_updated",
        {
            "task_id": job,
            "current_progress": done,
            "total_progress": total,
            "message": clean(message),
        },
    )


def clean(text: str) -> str:
    """Text that JSON and msgpack can carry: a name that is not UTF-8 loses its odd bytes."""
    return text.encode("utf-8", "replace").decode()


class Bus:
    """Sends events. Each send is one script, so that it happens as a whole or not at all.

    Everything here raises `redis.RedisError` when the server cannot be reached; after that, calls
    fail at once for `REST_SECONDS`.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        folder = files(__package__)
        self._end = client.register_script((folder / "end.lua").read_text("utf-8"))
        self._update = client.register_script((folder / "update.lua").read_text("utf-8"))
        self._rest_until = 0.0

    def publish_end(self, ending: JobEndEvent) -> bool:
        """Tell the end of a job; False when it was told before (nothing is sent then)."""
        arguments: list[Any] = [
            ending.job,
            TOLD_SECONDS,
            cache_key(ending.job),
            CACHE_SECONDS,
            ending.last.broadcast(),
            STREAM_LENGTH,
        ]
        for event in ending.stream:
            arguments += [event.name, SOURCE, event.args, event.payload]
        return bool(self._guarded(lambda: self._end(args=arguments)))

    def publish_progress(self, job: str, event: Event, *, first: bool = False) -> bool:
        """Tell that a job goes on; False when its end was told, or with `first` anything was."""
        arguments: list[Any] = [
            job,
            cache_key(job),
            CACHE_SECONDS,
            event.broadcast(),
            "1" if first else "",
        ]
        return bool(self._guarded(lambda: self._update(args=arguments)))

    def stream(self, event: Event) -> None:
        """Give an event to one consumer of each group."""
        entry: dict[Any, Any] = {
            "name": event.name,
            "source": SOURCE,
            "args": event.args,
            "payload": event.payload,
        }
        self._guarded(lambda: self._redis.xadd(STREAM, entry, maxlen=STREAM_LENGTH))

    def broadcast(self, event: Event) -> None:
        """Tell an event to everybody who listens now."""
        self._guarded(lambda: self._redis.publish(CHANNEL, event.broadcast()))

    def _guarded(self, act: Any) -> Any:  # noqa: ANN401 - what the script or command answers
        if time.monotonic() < self._rest_until:
            raise redis.ConnectionError("the event bus failed just now")
        try:
            return act()
        except redis.RedisError:
            self._rest_until = time.monotonic() + REST_SECONDS
            raise
