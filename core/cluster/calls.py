"""Bounded calls to a volume of another node: asked in the volume's fast lane, answered once.

The asker leaves the call under a key that ends with its patience, and its id in the lane of the
volume. Whoever serves the volume takes an id, then the call: what its asker gave up is gone by
then, and nobody can take it twice (GETDEL). So a call is made once at most. Costs four round trips
to Redis, two on each side.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, cast
from uuid import uuid4

import redis

from core.errors import DeadlineExceeded, Unavailable
from core.jobs.store import PREFIX

#: An answer nobody waits for any more is gone after this (seconds).
ANSWER_SECONDS = 60
#: One wait for an answer or a call: shorter than what a connection may be silent for.
WAIT_SECONDS = 1.0


class Call(NamedTuple):
    """A call taken from a lane: answer it under its id."""

    id: str
    body: bytes


def lane_key(volume: str) -> str:
    """Where the calls of a volume wait."""
    return f"{PREFIX}calls:{volume}"


class Calls:
    """Both ends of the calls; `client` gives bytes, not text."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def ask(self, volume: str, body: bytes, seconds: float) -> bytes:
        """Have the call made by a node that serves the volume, and return what it answered.

        Raises:
            Unavailable: nobody took it in time; it was not and will not be made.
            DeadlineExceeded: it was taken and not answered in time; it may still take effect.
        """
        call = uuid4().hex
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_call_key(call), body, px=math.ceil(seconds * 1000))
            pipe.rpush(lane_key(volume), call)
            pipe.expire(lane_key(volume), math.ceil(seconds) + 1)
            pipe.execute()
        left = seconds
        while left > 0:
            wait = min(left, WAIT_SECONDS)
            found = cast("Any", self._redis.blpop([f"{PREFIX}answer:{call}"], wait))
            if found:
                return bytes(found[1])
            left -= wait
        if self._redis.delete(_call_key(call)) or self._redis.lrem(lane_key(volume), 1, call):
            raise Unavailable(f"The nodes of volume {volume} are busy; try again.", volume=volume)
        raise DeadlineExceeded(
            f"The node of volume {volume} did not answer within {seconds:g} s; try again later.",
            volume=volume,
        )

    def take(self, volumes: Iterable[str]) -> Call | None:
        """The next call to one of the volumes; None when none came for a moment."""
        found = cast("Any", self._redis.blpop([lane_key(name) for name in volumes], WAIT_SECONDS))
        if not found:
            return None
        call = bytes(found[1]).decode()
        body = cast("bytes | None", self._redis.getdel(_call_key(call)))
        return None if body is None else Call(call, body)

    def answer(self, call: str, body: bytes) -> None:
        """Answer a call that was taken."""
        key = f"{PREFIX}answer:{call}"
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(key, body)
            pipe.expire(key, ANSWER_SECONDS)
            pipe.execute()


def _call_key(call: str) -> str:
    return f"{PREFIX}call:{call}"
