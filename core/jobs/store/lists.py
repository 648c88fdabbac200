"""Reads of jobs: lists with filters and cursor, logs, and what a queued job waits for.

The last is computed when a record is read; no script writes it into waiting jobs. A job waits for
the oldest job before it that needs one of its vfolders in a mode that conflicts. That job is the
first of one of a few sorted sets, so the cost is the same for any number of jobs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, cast

import redis

from core.errors import InvalidParameters, StorageError
from core.jobs.job import Job, State
from core.jobs.requests import CONFLICTS, Lock, parse
from core.jobs.store.messages import PREFIX
from core.names import moment_of_ms
from core.redis import json
from core.telemetry import logger

_log = logger(__name__)

PAGE_DEFAULT = 50
PAGE_MAX = 500
#: Candidates per round trip: at first as many as the page has, then `GROWTH` times as many.
BATCH_MAX = 5000
GROWTH = 4
#: A position counts the jobs of at most so many quota scopes; 100 take 0.2 ms.
TURNS_MAX = 100
#: A plan names so many of the jobs that it would wait for.
HOLDERS_MAX = 100
FOR_A_SLOT = "waiting for a slot"
#: What the log of a job says that one run took and ended.
_OF_A_PLAIN_LIFE = ("created_at", "started_at", "ended_at", "state", "node")
#: Filters that have an index of their own, by the name callers use.
INDEXED = ("state", "verb", "volume", "scope", "vfolder", "requester", "label")


@dataclass(frozen=True, slots=True)
class Query:
    """Filters and bounds of a list; `since_ms` is the earliest time of creation.

    `lock_key` leaves only jobs that use this vfolder of this volume. The index of vfolders has
    their ids alone, so it comes with the filter `vfolder`.
    """

    filters: dict[str, str] = field(default_factory=dict)
    limit: int = PAGE_DEFAULT
    cursor: str = ""
    since_ms: int = 0
    lock_key: str = ""


@dataclass(frozen=True, slots=True)
class JobListPage:
    """One page of jobs, and the cursor of the next page; empty when there is none."""

    jobs: list[Job]
    next: str


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of a queued job among the ready jobs of its lane and priority, from 1.

    `position` is None where only a bound is known: at least `ahead` jobs go before it.
    """

    #: All jobs of its volume are paused.
    volume_paused: bool
    position: int | None = None
    length: int | None = None
    ahead: int | None = None


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
            if query.lock_key and query.lock_key not in _lock_keys(job):
                continue
            jobs.append(job)
            if len(jobs) == query.limit:
                return JobListPage(jobs, str(job.seq))
        return JobListPage(jobs, "")

    def _newest_first(self, query: Query) -> Iterator[Job]:
        names = [f"{key}:{value}" for key, value in query.filters.items() if value]
        smallest, others = self._smallest(names) if names else (None, [])
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

    def _batch(self, index: str | None, bound: str, count: int) -> list[tuple[str, float]]:
        """Return the newest jobs of an index below a bound; without one those of all states.

        One transaction: a job that changes its state meanwhile is in one of the states.
        """
        indexes = [index] if index else [f"state:{state}" for state in State]
        with self._redis.pipeline(transaction=True) as pipe:
            for name in indexes:
                key = f"{PREFIX}ix:{name}"
                pipe.zrevrangebyscore(key, bound, "-inf", 0, count, withscores=True)
            found = [one for page in pipe.execute() for one in page]
        return sorted(found, key=itemgetter(1), reverse=True)[:count]

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
        jobs = self._read(ids)
        explain(self._redis, jobs)
        return jobs

    def read(self, ids: list[str]) -> list[Job]:
        """Return records, without those that are gone; costs two round trips at most."""
        return self._records(ids)

    def _read(self, ids: list[str]) -> list[Job]:
        """Read records; one that this version cannot read is left out and named in the log."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hgetall(f"{PREFIX}job:{job}")
            found = zip(ids, pipe.execute(), strict=True)
        jobs = []
        for job, fields in found:
            try:
                jobs += [Job.from_fields(fields, job)] if fields else []
            except (KeyError, ValueError) as error:
                _log.warning("job record not read", job_id=job, reason=type(error).__name__)
        return jobs

    def now_ms(self) -> int:
        """Return the present moment by the store's clock (milliseconds)."""
        seconds, micros = self._redis.time()
        return seconds * 1000 + micros // 1000

    def ended_since(self, since_ms: int) -> list[Job]:
        """Return the jobs that ended at a moment of the store's clock or later: `PAGE_MAX` at most.

        Costs one round trip where no job ended, else two.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for kept in ("short", "long"):
                name = f"{PREFIX}ended:{kept}"
                pipe.zrangebyscore(name, since_ms, "+inf", 0, PAGE_MAX, withscores=True)
            found = [one for page in pipe.execute() for one in page]
        batch = sorted(found, key=itemgetter(1))[:PAGE_MAX]
        return self._read([job for job, _ in batch])

    def failed_since(self, since_ms: int) -> list[Job]:
        """Return the jobs that failed at a moment of the store's clock or later, newest first.

        `PAGE_MAX` at most; partial ends are no failures. Costs two round trips.
        """
        ids = cast(
            "list[str]",
            self._redis.zrange(
                f"{PREFIX}ended:long",
                cast("int", "+inf"),
                since_ms,
                desc=True,
                byscore=True,
                offset=0,
                num=PAGE_MAX,
            ),
        )
        return [job for job in self._read(ids) if job.state is State.FAILED]

    def behind(self, vfolder: str, turn: int) -> Iterator[Job]:
        """Yield the live jobs that need a vfolder (a lock key) and came after a turn, oldest first.

        Costs two round trips per `PAGE_MAX` jobs.
        """
        while True:
            with self._redis.pipeline(transaction=False) as pipe:
                for mode in CONFLICTS:
                    key = lock_set(vfolder, mode)
                    pipe.zrangebyscore(key, f"({turn}", "+inf", 0, PAGE_MAX, withscores=True)
                found = [one for page in pipe.execute() for one in page]
            batch = sorted(found, key=itemgetter(1))[:PAGE_MAX]
            if not batch:
                return
            yield from self._records([job for job, _ in batch])
            turn = int(batch[-1][1])

    def queue_position(self, job: Job) -> QueuePosition | None:
        """Return where a job waits; None when it does not wait.

        The position is exact while no job arrives or leaves: the scopes take turns, each in its
        own order. It is known for the next job of a scope, and where at most `TURNS_MAX` scopes
        take turns. For the others each scope has at least one job before it. Costs one round trip,
        or two and one short look per scope.
        """
        if job.state is not State.QUEUED:
            return None
        place = _Place(job)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sismember(f"{PREFIX}paused", job.volume)
            pipe.zrank(place.ready(job.scope), job.id)
            pipe.hget(place.waiting, str(job.priority))
            pipe.zrank(place.turns, job.scope)
            pipe.zcard(place.turns)
            volume_paused, rank, length, turn, scopes = pipe.execute()
        if rank is None or turn is None:
            return QueuePosition(bool(volume_paused))
        known = QueuePosition(bool(volume_paused), length=int(length or 0))
        if rank == 0:
            return replace(known, position=turn + 1, ahead=turn)
        if scopes > TURNS_MAX:
            return replace(known, ahead=rank + scopes - 1)
        ahead = rank + self._of_others(place, job.scope, rank)
        return replace(known, position=ahead + 1, ahead=ahead)

    def _of_others(self, place: "_Place", own: str, rank: int) -> int:
        """Return how many jobs of the other scopes go before the job of this rank in its own."""
        turns = cast("list[str]", self._redis.zrange(place.turns, 0, -1))
        own_turn = turns.index(own) if own in turns else len(turns)
        with self._redis.pipeline(transaction=False) as pipe:
            for scope in turns:
                pipe.zcard(place.ready(scope))
            sizes = pipe.execute()
        return sum(
            min(size, rank + (1 if turn < own_turn else 0))
            for turn, size in enumerate(sizes)
            if turn != own_turn
        )

    def holders(self, locks: list[Lock]) -> list[str]:
        """Return the oldest live jobs that a new job with these locks would wait for."""
        with self._redis.pipeline(transaction=False) as pipe:
            for vfolder, mode in locks:
                for other in CONFLICTS[mode]:
                    pipe.zrange(lock_set(vfolder, other), 0, HOLDERS_MAX - 1, withscores=True)
            found = cast("list[list[tuple[str, Any]]]", pipe.execute())
        turns = {job: float(turn) for jobs in found for job, turn in jobs}
        return sorted(turns, key=turns.__getitem__)[:HOLDERS_MAX]

    def paused_volumes(self) -> list[str]:
        """Return the volumes whose jobs are paused."""
        return sorted(cast("set[str]", self._redis.smembers(f"{PREFIX}paused")))

    def log(self, job: str) -> list[dict[str, Any]]:
        """Return the log of a job, oldest line first; a long log has lost its oldest lines."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrange(f"{PREFIX}log:{job}", 0, -1)
            pipe.hmget(f"{PREFIX}job:{job}", "log", *_OF_A_PLAIN_LIFE)
            lines, (packed, *record) = pipe.execute()
        if not packed and not lines and None not in record:
            return _plain_life(*record)
        found = json.loads(packed) if packed else [json.loads(line) for line in lines]
        return [_log_line(line) for line in found]


def lock_set(vfolder: str, mode: str) -> str:
    """Return the key of the live jobs that need a vfolder in one mode, by turn."""
    return f"{PREFIX}lock:{vfolder}:{mode}"


def explain(client: "redis.Redis", jobs: Iterable[Job]) -> None:
    """Fill `reason` and `waits_for` of the jobs that wait for a lock or a slot.

    Costs one round trip for all of them, none when no job waits. Each job costs one look per lock
    and conflicting mode.
    """
    waiting = [(job, _places(job)) for job in jobs if job.waits]
    if not waiting:
        return
    with client.pipeline(transaction=False) as pipe:
        for _, places in waiting:
            for _, vfolder, mode in places:
                pipe.zrange(lock_set(vfolder, mode), 0, 0, withscores=True)
        answers = iter(pipe.execute())
    for job, places in waiting:
        turn = float(job.fields["turn"])
        older = [
            (number, score, other, mode)
            for number, _, mode in places
            for other, score in next(answers)
            if score < turn
        ]
        reason, other = FOR_A_SLOT, ""
        if older:
            _, _, other, mode = min(older)
            reason = f"waiting for the {mode} lock of job {other}"
        job.fields.update(reason=reason, waits_for=other)


def _places(job: Job) -> list[tuple[int, str, str]]:
    """Return where jobs may block a job: the number of its lock, the vfolder, their mode."""
    locks: list[Lock] = job.member("locks")
    return [
        (number, vfolder, other)
        for number, (vfolder, mode) in enumerate(locks)
        for other in CONFLICTS[mode]
    ]


class _Place:
    """The names of the keys of the queue that a job stands in."""

    def __init__(self, job: Job) -> None:
        lane = f"{job.volume}:{job.lane}"
        self._lane = f"{lane}:{job.priority}"
        self.turns = f"{PREFIX}turns:{self._lane}"
        self.waiting = f"{PREFIX}waiting:{lane}"

    def ready(self, scope: str) -> str:
        return f"{PREFIX}ready:{self._lane}:{scope}"


def _plain_life(created: str, started: str, ended: str, state: str, node: str) -> list[Any]:
    """Return the log of a job that one run took and ended; no record keeps these lines."""
    lines = [
        ["submitted", int(created), 0, "", ""],
        ["claimed", int(started), 1, node, ""],
        [state, int(ended), 1, node, ""],
    ]
    return [_log_line(line) for line in lines]


def _log_line(line: list[Any] | dict[str, Any]) -> dict[str, Any]:
    """Return one line as callers see it; former versions wrote members by name."""
    if isinstance(line, dict):
        line = [line[name] for name in ("kind", "at", "attempt", "node", "text")]
    kind, at, attempt, node, text = line
    return {
        "kind": kind,
        "at": moment_of_ms(at),
        "attempt": attempt,
        "node": node or None,
        "text": text or None,
    }


def _lock_keys(job: Job) -> set[str]:
    """Return the vfolders that a job uses, each with its volume; none of an unreadable record."""
    try:
        return {key for key, _ in parse(job.member("request") or {}).locks()}
    except StorageError:
        return set()


def _bound(cursor: str) -> str:
    if not cursor:
        return "+inf"
    if not cursor.isascii() or not cursor.isdigit():
        raise InvalidParameters(
            "The cursor is not valid; take it from `next` of the previous page.",
            errors=[{"pointer": "/cursor", "detail": "not a cursor"}],
        )
    return f"({cursor}"
