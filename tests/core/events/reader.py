"""A reader of the bus like the manager, written from the rules of the wire, not from our code.

It is both generations of readers: the older decodes `args` (msgpack, by position), the newer
`payload` (JSON, by name). It decodes every message in both ways and compares the results.
"""

import threading
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgpack
import orjson
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from tests.support.broadcasts import subscribed

#: The order of the fields in the msgpack array, by event.
ORDER = {
    "vfolder_deletion_success": ["vfid"],
    "vfolder_deletion_failure": ["vfid", "message"],
    "vfolder_clone_success": ["vfid", "dst_vfid"],
    "vfolder_clone_failure": ["vfid", "dst_vfid", "message"],
    "bgtask_updated": ["task_id", "current_progress", "total_progress", "message"],
    "bgtask_done": ["task_id", "message"],
    "bgtask_failed": ["task_id", "message"],
    "bgtask_cancelled": ["task_id", "message"],
    "bgtask_partial_success": ["task_id", "message", "errors"],
    "model_verifying": ["model_id", "revision", "registry_type", "registry_name"],
    "model_import_done": [
        *("model_id", "revision", "registry_type", "registry_name"),
        *("success", "digest", "verification_result"),
    ],
    "models_metadata_fetch_done": [
        *("model_id", "revision", "readme_content", "registry_name", "registry_type", "size"),
    ],
    "node_joined": ["node_id", "volumes"],
    "node_left": ["node_id", "reason"],
    "quota_threshold_reached": [
        *("volume", "scope", "percent", "used_bytes", "limit_bytes", "view", "vfolder"),
    ],
}
#: Wait this long for a frozen server: messages are lost while the reader is disconnected.
PATIENCE_SECONDS = 60
ENDS = {"bgtask_done", "bgtask_failed", "bgtask_cancelled", "bgtask_partial_success"}


@dataclass(frozen=True)
class Heard:
    name: str
    fields: dict[str, Any]

    @property
    def task(self) -> str:
        return str(self.fields.get("task_id"))


def older(name: str, args: bytes) -> dict[str, Any]:
    """Decode as releases up to 26.8: an array by position; an unknown length is an error."""
    values = msgpack.unpackb(args, raw=False, use_list=False)
    assert isinstance(values, tuple), values
    return dict(zip(ORDER[name], values, strict=True))


def newer(payload: str | bytes) -> dict[str, Any]:
    """Decode as later releases: an object by name."""
    found: dict[str, Any] = orjson.loads(payload)
    return found


def agreed(name: str, args: bytes, payload: bytes | str) -> Heard:
    by_position, by_name = older(name, args), newer(payload)
    if name == "models_metadata_fetch_done":  # one object, whose order is that of its siblings
        assert by_position == by_name["model"]
        return Heard(name, by_name["model"])
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in by_position.items()} == by_name
    assert list(by_name) == ORDER[name]
    return Heard(name, by_name)


def decode_entry(entry: dict[bytes, bytes]) -> Heard:
    """One entry of the stream."""
    assert set(entry) == {b"name", b"source", b"args", b"payload"}, entry
    assert entry[b"source"] == b"storage"
    return agreed(entry[b"name"].decode(), entry[b"args"], entry[b"payload"])


def decode_broadcast(text: bytes) -> Heard:
    """One message of the channel, or of a kept key."""
    message = orjson.loads(text)
    assert set(message) == {"name", "source", "args", "payload"}, message
    assert message["source"] == "storage"
    return agreed(message["name"], b64decode(message["args"], validate=True), message["payload"])


class Reader:
    """A consumer group on the stream and a subscriber of the channel, each in its thread.

    Both connect again to a server that dies and comes back, as the manager does.
    """

    GROUP = "manager"

    def __init__(self, url: str) -> None:
        self._url = f"{url}/4"
        self.stream: list[Heard] = []
        self.channel: list[Heard] = []
        self.errors: list[str] = []
        # A server that is killed may forget an acknowledgement of its last second: the entry comes
        # again, under the same id.
        self._seen: set[bytes] = set()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=(act,), daemon=True)
            for act in (self._consume, self._listen)
        ]

    def __enter__(self) -> Self:
        with Redis.from_url(self._url) as client:
            client.xgroup_create("events", self.GROUP, id="$", mkstream=True)
        for thread in self._threads:
            thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _again(self, act: Any) -> None:
        while not self._stop.is_set():
            try:
                with Redis.from_url(self._url, socket_timeout=PATIENCE_SECONDS) as client:
                    act(client)
            except (RedisError, OSError):
                self._stop.wait(0.05)
            except (AssertionError, ValueError, KeyError) as error:
                self.errors.append(repr(error))

    def _consume(self, client: "Redis[bytes]") -> None:
        start = "0"  # first, entries that were delivered before a crash and not acknowledged
        while not self._stop.is_set():
            try:
                answer = client.xreadgroup(
                    self.GROUP, "one", {"events": start}, count=64, block=200
                )
            except OutOfMemoryError:  # a test that fills the store; the reader tries again
                raise
            except ResponseError as error:
                self.errors.append(repr(error))
                return
            entries = answer[0][1] if answer else []
            if start == "0" and not entries:
                start = ">"
            for entry_id, entry in entries:
                if entry_id not in self._seen:
                    self._seen.add(entry_id)
                    client.xack("events", self.GROUP, entry_id)
                    self.stream.append(decode_entry(entry))

    def _listen(self, client: "Redis[bytes]") -> None:
        with subscribed(client, "events_all") as channel:
            self._ready.set()
            while not self._stop.is_set():
                message = channel.get_message(timeout=0.2)
                if message:
                    self.channel.append(decode_broadcast(message["data"]))

    def has_read_all(self) -> bool:
        """Whether every entry was read, while the stream was not cut yet."""
        with Redis.from_url(self._url) as client:
            return len(self.stream) >= client.xlen("events")

    # -- What was received -------------------------------------------------------------------------
    def ends(self, task: str) -> list[str]:
        """The last messages of a job, in order; exactly one is correct."""
        return [heard.name for heard in self.channel if heard.name in ENDS and heard.task == task]

    def story(self, task: str) -> list[str]:
        """All messages of a job on the channel, by name."""
        return [heard.name for heard in self.channel if heard.task == task]


def kept(url: str, task: str) -> Heard | None:
    """The last message of a job, as a late subscriber finds it."""
    return kept_of(url, [task]).get(task)


def kept_of(url: str, tasks: Sequence[str]) -> dict[str, Heard]:
    """The last message of each job that has one."""
    if not tasks:
        return {}
    with Redis.from_url(f"{url}/4") as client:
        texts = client.mget([f"bgtask.{task}" for task in tasks])
    return {task: decode_broadcast(text) for task, text in zip(tasks, texts, strict=True) if text}
