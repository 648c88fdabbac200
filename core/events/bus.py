"""Events and the bus that carries them, in the form that the manager reads.

The bus has two parts. In the stream `events`, one consumer of each group takes an event. The
channel `events_all` reaches every subscriber; the last message of a job is also kept under a key,
for subscribers that come later.

Each message carries its body twice, for both generations of readers: `args`, a msgpack array by
position, and `payload`, a JSON object by name. It has no `metadata`: a member that a reader does
not know would break it.

The outbox (`core.events.outbox`) makes sure that the end of a job is published, and only once.
"""

import time
from base64 import b64encode
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec
import orjson
import redis

#: The stream: one consumer of each group takes an event.
STREAM = "events"
#: The channel: every subscriber receives an event.
CHANNEL = "events_all"
#: The stream is cut to about this many entries. All its writers do the same.
STREAM_LENGTH = 128
#: The sender: a constant of the cluster's protocol, not the name of a node.
SOURCE = "storage"
#: The last message of a job is kept under its key for this long (seconds).
CACHE_SECONDS = 300
#: The mark that a job's end was published is kept this long (seconds): far longer than an outbox
#: entry stays after its delivery.
PUBLISHED_SECONDS = 7 * 86_400
#: After a failure, calls fail at once for this long, so that a hung server costs little time.
REST_SECONDS = 2.0

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, and its fields in the order that msgpack readers need."""

    name: str
    fields: Fields
    #: The body by position, where it differs from the values of the fields.
    positional: list[Any] | None = None

    @property
    def args(self) -> bytes:
        """Return the body for older readers: a msgpack array."""
        values = list(self.fields.values()) if self.positional is None else self.positional
        return msgspec.msgpack.encode(values)

    @property
    def payload(self) -> bytes:
        """Return the body for newer readers: a JSON object."""
        return orjson.dumps(self.fields)

    def broadcast(self) -> bytes:
        """Return the message for the channel and the kept key. It is JSON, so `args` is base64."""
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
    """The events of a job's end: `stream` for the manager, `last` for its subscribers."""

    job: str
    last: Event
    stream: list[Event] = field(default_factory=list)


def cache_key(job: str) -> str:
    """Return the key of a job's last message."""
    return f"bgtask.{job}"


def progress_event(job: str, done: float, total: float, message: str) -> Event:
    """Return the event of a job's progress."""
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
    """Return text that JSON and msgpack can carry: bytes that are not UTF-8 become `?`."""
    return text.encode("utf-8", "replace").decode()


def recent_events(client: "redis.Redis", count: int | None = None) -> list[dict[str, Any]]:
    """Return the entries of the stream, newest first: id, name, source, payload as JSON has it.

    `count` is the most that it returns; None: all.

    `client` answers bytes. Other services write entries, too; a payload that is no JSON is None.

    Raises:
        redis.RedisError: the server does not answer.
    """
    found: Any = client.xrevrange(STREAM, count=count)
    return [
        {
            "id": cursor.decode(),
            "name": fields.get(b"name", b"").decode("utf-8", "replace"),
            "source": fields.get(b"source", b"").decode("utf-8", "replace"),
            "payload": _json_of(fields.get(b"payload", b"null")),
        }
        for cursor, fields in found
    ]


def _json_of(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


class Bus:
    """Publishes events. Each call is one script: it takes effect completely or not at all.

    Every method raises `redis.RedisError` when the server cannot be reached. After that, calls fail
    at once for `REST_SECONDS`.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        folder = files(__package__)
        self._end = client.register_script((folder / "end.lua").read_text("utf-8"))
        self._update = client.register_script((folder / "update.lua").read_text("utf-8"))
        self._once = client.register_script((folder / "once.lua").read_text("utf-8"))
        self._rest_until = 0.0

    def publish_end(self, event: JobEndEvent) -> bool:
        """Publish the end of a job; False when it was published before: nothing is sent then."""
        arguments: list[Any] = [
            event.job,
            PUBLISHED_SECONDS,
            cache_key(event.job),
            CACHE_SECONDS,
            event.last.broadcast(),
            STREAM_LENGTH,
        ]
        for entry in event.stream:
            arguments += [entry.name, SOURCE, entry.args, entry.payload]
        return bool(self._guarded(lambda: self._end(args=arguments)))

    def publish_progress(self, job: str, event: Event, *, first: bool = False) -> bool:
        """Publish the progress of a job; return whether it was published.

        It is not when the job's end was published before; with `first`, when anything was.
        """
        arguments: list[Any] = [
            job,
            cache_key(job),
            CACHE_SECONDS,
            event.broadcast(),
            "1" if first else "",
        ]
        return bool(self._guarded(lambda: self._update(args=arguments)))

    def stream_once(self, mark: str, event: Event) -> bool:
        """Publish an event to one consumer of each group, unless the mark was used before."""
        arguments: list[Any] = [mark, PUBLISHED_SECONDS, STREAM_LENGTH, event.name, SOURCE]
        arguments += [event.args, event.payload]
        return bool(self._guarded(lambda: self._once(args=arguments)))

    def stream(self, event: Event) -> None:
        """Publish an event to one consumer of each group."""
        entry: dict[Any, Any] = {
            "name": event.name,
            "source": SOURCE,
            "args": event.args,
            "payload": event.payload,
        }
        self._guarded(lambda: self._redis.xadd(STREAM, entry, maxlen=STREAM_LENGTH))

    def broadcast(self, event: Event) -> None:
        """Publish an event to all present subscribers."""
        self._guarded(lambda: self._redis.publish(CHANNEL, event.broadcast()))

    def _guarded(self, send: Any) -> Any:  # noqa: ANN401 - what the script or command answers
        if time.monotonic() < self._rest_until:
            raise redis.ConnectionError("the event bus failed just now")
        try:
            return send()
        except redis.RedisError:
            self._rest_until = time.monotonic() + REST_SECONDS
            raise
