"""Reads of many jobs: lists with filters and cursor, positions in the queue, logs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from core.errors import InvalidParameters
from core.jobs.job import Job, State
from core.jobs.store.messages import PREFIX
from core.names import moment_of_ms
from core.redis import json

PAGE_DEFAULT = 50
PAGE_MAX = 500
#: Candidates per round trip: at first as many as the page has, then `GROWTH` times as many.
BATCH_MAX = 5000
GROWTH = 4
#: Filters that have an index of their own, by the name callers use.
INDEXED = ("state", "verb", "volume", "scope", "vfolder", "requester", "label")


@dataclass(frozen=True, slots=True)
class Query:
    """Filters and bounds of a list; `since_ms` is the earliest time of creation."""

    filters: dict[str, str] = field(default_factory=dict)
    limit: int = PAGE_DEFAULT
    cursor: str = ""
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class JobListPage:
    """One page of jobs, and the cursor of the next page; empty when there is none."""

    jobs: list[Job]
    next: str


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of a queued job among the ready jobs of its lane, from 1, and their number."""

    #: All jobs of its volume are paused.
    volume_paused: bool
    position: int | None = None
    length: int | None = None


class JobLists:
    """Reads of many jobs. A page costs two round trips with one filter, more with several."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def page(self, query: Query) -> JobListPage:
        """Return one page, newest first. Jobs that end or arrive meanwhile do not shift it.

        Raises:
            InvalidParameters: the cursor is not valid.
        """
        jobs: list[Job] = []
        for job in self._newest_first(query):
            if query.since_ms and int(job.fields["created_at"]) < query.since_ms:
                break
            jobs.append(job)
            if len(jobs) == query.limit:
                return JobListPage(jobs, str(job.seq))
        return JobListPage(jobs, "")

    def _newest_first(self, query: Query) -> Iterator[Job]:
        names = [f"{key}:{value}" for key, value in query.filters.items() if value] or ["all"]
        smallest, others = self._smallest(names)
        bound, count = _bound(query.cursor), query.limit
        while batch := self._batch(smallest, bound, count):
            ids = [job for job, _ in batch]
            kept = self._matching(ids, others)
            matching = [job for job in ids if job in kept]
            for start in range(0, len(matching), query.limit):
                yield from self._records(matching[start : start + query.limit])
            bound = f"({batch[-1][1]:.0f}"
            count = min(count * GROWTH, BATCH_MAX)

    def _smallest(self, names: list[str]) -> tuple[str, list[str]]:
        if len(names) == 1:
            return names[0], []
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.zcard(f"{PREFIX}ix:{name}")
            sizes = pipe.execute()
        ranked = [name for _, name in sorted(zip(sizes, names, strict=True))]
        return ranked[0], ranked[1:]

    def _batch(self, index: str, bound: str, count: int) -> list[tuple[str, float]]:
        return cast(
            "list[tuple[str, float]]",
            self._redis.zrange(
                f"{PREFIX}ix:{index}",
                cast("int", bound),
                cast("int", "-inf"),
                desc=True,
                byscore=True,
                offset=0,
                num=count,
                withscores=True,
            ),
        )

    def _matching(self, ids: list[str], indexes: list[str]) -> set[str]:
        kept = set(ids)
        if not ids or not indexes:
            return kept
        with self._redis.pipeline(transaction=False) as pipe:
            for name in indexes:
                pipe.zmscore(f"{PREFIX}ix:{name}", ids)
            for scores in pipe.execute():
                kept &= {job for job, score in zip(ids, scores, strict=True) if score is not None}
        return kept

    def _records(self, ids: list[str]) -> list[Job]:
        with self._redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hgetall(f"{PREFIX}job:{job}")
            return [Job.from_fields(fields) for fields in pipe.execute() if fields]

    def queue_position(self, job: Job) -> QueuePosition | None:
        """Return where a job waits; None when it does not wait.

        The position is exact while no job arrives or leaves: the scopes take turns, each in its
        own order. Costs one round trip, two when several scopes take turns.
        """
        if job.state is not State.QUEUED:
            return None
        lane = f"{job.volume}:{job.lane}:{job.priority}"
        own = f"{PREFIX}ready:{lane}:{job.scope}"
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sismember(f"{PREFIX}paused", job.volume)
            pipe.zrank(own, job.id)
            pipe.zcard(own)
            pipe.lrange(f"{PREFIX}ring:{lane}", 0, -1)
            volume_paused, rank, length, ring = pipe.execute()
        if rank is None:
            return QueuePosition(bool(volume_paused))
        before, ready = int(rank), int(length)
        own_turn = ring.index(job.scope) if job.scope in ring else len(ring)
        for at, others in self._lengths(lane, ring, own_turn):
            before += min(others, rank + (1 if at < own_turn else 0))
            ready += others
        return QueuePosition(bool(volume_paused), before + 1, ready)

    def _lengths(self, lane: str, ring: list[str], own_turn: int) -> list[tuple[int, int]]:
        """Return the number of ready jobs of each other scope, by its place in the ring."""
        others = [at for at in range(len(ring)) if at != own_turn]
        if not others:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for at in others:
                pipe.zcard(f"{PREFIX}ready:{lane}:{ring[at]}")
            return list(zip(others, pipe.execute(), strict=True))

    def paused_volumes(self) -> list[str]:
        """Return the volumes whose jobs are paused."""
        return sorted(cast("set[str]", self._redis.smembers(f"{PREFIX}paused")))

    def log(self, job: str) -> list[dict[str, Any]]:
        """Return the log of a job, oldest line first; a long log has lost its oldest lines."""
        lines = cast("list[str]", self._redis.lrange(f"{PREFIX}log:{job}", 0, -1))
        return [_log_line(json.loads(line)) for line in lines]


def _log_line(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": line["kind"],
        "at": moment_of_ms(line["at"]),
        "attempt": line["attempt"],
        "node": line["node"] or None,
        "text": line["text"] or None,
    }


def _bound(cursor: str) -> str:
    if not cursor:
        return "+inf"
    if not cursor.isascii() or not cursor.isdigit():
        raise InvalidParameters(
            "The cursor is not valid; take it from `next` of the previous page.",
            errors=[{"pointer": "/cursor", "detail": "not a cursor"}],
        )
    return f"({cursor}"
