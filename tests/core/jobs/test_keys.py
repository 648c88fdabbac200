"""Every script names its keys: what it touches is named, or is one of the keys it finds."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from redis import Redis

from core.errors import KeyReused, Locked
from core.jobs import State
from core.jobs.requests import CloneRequest, DeleteFilesRequest, Request, UsageRequest
from core.jobs.store import PREFIX, JobEnd, JobStore, Submission, script_texts
from core.jobs.store.keys import FIXED, FOUND
from tests.core.jobs.conftest import Desk
from tests.support.valkey import Valkey

FOLDERS = tuple(f"user:{UUID(int=n % 3 + 1)}/{UUID(int=n + 9).hex}" for n in range(5))
MOVES = 200
#: The jobs that one script may move.
BATCH = 2
#: Commands whose only keys are their first arguments, or none.
NO_KEYS = {"TIME", "PUBLISH", "INFO", "CONFIG"}
MANY_KEYS = {"DEL", "UNLINK", "EXISTS"}

Touched = dict[str, set[str]]


class Seen:
    """What MONITOR showed: the keys that each script named, and those that it touched."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self.calls: list[tuple[str, set[str], set[str]]] = []
        self._inside: set[str] = set()

    def add(self, entry: dict[str, Any]) -> None:
        words = [str(word) for word in entry["command"].split(" ")]
        if entry["client_type"] == "lua":
            self._inside |= keys_in(words)
        elif words[0].upper() == "EVALSHA":
            number = int(words[2])
            self.calls.append((self._names[words[1]], set(words[3 : 3 + number]), set()))
            self._inside = self.calls[-1][2]


def keys_in(words: list[str]) -> set[str]:
    command = words[0].upper()
    if command in NO_KEYS:
        return set()
    return set(words[1:]) if command in MANY_KEYS else {words[1]}


@contextmanager
def monitored(valkey: Valkey, seen: Seen) -> Iterator[None]:
    """Show every command of the server to `seen`, until the mark at the end."""
    with valkey.client(1) as watching, valkey.client(1) as marking, watching.monitor() as monitor:
        yield
        marking.get("end of the watch")
        while True:
            entry = monitor.next_command()
            if entry["command"] == "GET end of the watch":
                return
            seen.add(entry)


class Office:
    """Callers, a run and the reaper, which make every move."""

    def __init__(self, store: JobStore, client: Redis) -> None:
        self.store = store
        self.client = client
        self.random = random.Random(7)

    def ids(self, key: str, most: int = 1) -> list[str]:
        return [str(job) for job in self.client.zrange(PREFIX + key, 0, most - 1)]

    def submit(self, number: int) -> None:
        draw = self.random
        volume, (folder, other) = draw.choice("vw"), draw.sample(FOLDERS, 2)
        requests: list[Request] = [
            UsageRequest(volume=volume, vfolder=folder),
            DeleteFilesRequest(volume=volume, vfolder=folder, paths=["a"]),
            CloneRequest(volume=volume, source=folder, target=other),
        ]
        with suppress(Locked, KeyReused):
            self.store.submit(
                Submission(
                    draw.choice(requests),
                    priority=draw.choice((0, 5)),
                    label=draw.choice(("", "l")),
                    requester=draw.choice(("", "m")),
                    idempotency_key=draw.choice(("", f"k{number % 9}")),
                    deadline_ms=number % 2,
                )
            )

    def run(self, number: int) -> None:
        for job in self.ids("slots:v:bulk"):
            if self.store.claim(job, "r", "n", 60, "p") == "ok":
                self.store.heartbeat(self.store.get(job), "r", 60, "{}")
                self.store.set_pace(job, 7)
                self.store.permit(job, "r")
                self.leave(job, number)

    def leave(self, job: str, number: int) -> None:
        if number % 5 == 0:
            self.store.release(job, "r", "drained")
        elif number % 7 == 0:
            self.store.lose(job, "r", "gone", 1)
        elif number % 11:
            states = State.SUCCEEDED, State.FAILED, State.PARTIAL
            self.store.finish(job, "r", JobEnd(self.random.choice(states)))

    def change(self, number: int) -> None:
        for job in self.random.sample(
            queued := self.ids("ix:state:queued", 99), min(1, len(queued))
        ):
            self.store.pause(job)
            self.store.pause(job, resume=True)
            if number % 3 == 0:
                self.store.cancel(job)
            elif number == 5:
                self.store.refuse(job, "{}")
        for job in self.ids("ix:state:running"):
            if number % 13 == 0:
                self.store.cancel(job)
                run = self.store.get(job).run
                self.store.heartbeat(self.store.get(job), run, 60)
                self.store.finish(job, run, JobEnd(State.CANCELLED))

    def pause(self) -> None:
        self.store.pause_volume("v")
        for job in self.ids("slots:v:bulk", 2):
            self.store.claim(job, "r2", "n", 60)
        self.store.pause_volume("v", resume=True)
        self.store.set_slots("v", 1, self.random.randint(1, 4))

    def reap(self) -> None:
        for job in self.ids("due", 3):
            self.client.zadd(f"{PREFIX}due", {job: 1})
        self.store.reap(1)

    def forget(self) -> None:
        self.client.delete(f"{PREFIX}outbox")
        for job in self.ids("ended:short"):
            self.store.forget(job)
        self.store.sweep(-1, 3600)

    def held(self) -> None:
        """Meet every kind of key that a script finds itself, on a volume that no other move uses.

        More jobs wait for a vfolder than one script may wake: their lane is held until the rest is.
        """
        volume, (folder, *others) = "held", FOLDERS
        self.store.set_slots(volume, 9, 9)
        self.client.hset(f"{PREFIX}bandwidth", volume, "1000")
        first = self.submitted(DeleteFilesRequest(volume=volume, vfolder=folder, paths=["a"]))
        waiting = [
            self.submitted(CloneRequest(volume=volume, source=folder, target=other))
            for other in others
        ]
        waiting.append(self.submitted(UsageRequest(volume=volume, vfolder=folder)))
        self.store.set_priority(waiting[-1], 3)
        assert len(waiting) > 2 * BATCH
        assert self.store.claim(first, "lost", "n", 60, "p") == "ok"
        self.client.zadd(f"{PREFIX}due", {first: 1})
        self.store.reap(1)
        for job in (first, *waiting):
            assert self.store.claim(job, "r", "n", 60, "p") == "ok"
            assert self.store.finish(job, "r", JobEnd(State.SUCCEEDED))
        self.client.delete(f"{PREFIX}outbox")
        for job in (first, *waiting):
            self.store.forget(job)

    def submitted(self, request: Request) -> str:
        return self.store.submit(Submission(request, label="l", requester="m")).id

    def work(self) -> None:
        self.held()
        self.store.set_slots("v", 1, 2)
        self.store.set_slots("w", 1, 1)
        self.client.hset(f"{PREFIX}bandwidth", "v", "1000")
        for number in range(MOVES):
            self.submit(number)
            self.run(number)
            self.change(number)
            for job in self.ids(f"ready:v:bulk:5:user:{UUID(int=1)}"):
                self.store.set_priority(job, 3)
            if number % 10 == 0:
                self.reap()
                self.pause()
            if number % 40 == 39:
                self.forget()


def test_every_script_names_the_keys_that_its_caller_knows(valkey: Valkey, desk: Desk) -> None:
    client = desk.store.redis
    store = JobStore(client, lambda _: None, batch=BATCH)
    store._can_wait = False  # the disk is not tested here
    seen = Seen({client.register_script(text).sha: name for name, text in script_texts(BATCH)})
    with monitored(valkey, seen):
        Office(store, client).work()
    used: dict[str, set[str]] = defaultdict(set)
    found: dict[str, set[str]] = defaultdict(set)
    for script, named, touched in seen.calls:
        for key in touched - named:
            matching = [p for p in FOUND.get(script, ()) if fnmatchcase(key, PREFIX + p)]
            assert matching, f"{script} touches {key}, which it does not name"
            found[script].update(matching)
        used[script] |= touched
    assert set(used) == set(FIXED), "every script was called"
    everywhere = set().union(*used.values())
    unused = {name for names in FIXED.values() for name in names if PREFIX + name not in everywhere}
    assert not unused, "named, and touched by no script"
    patterns = {pattern for found_by in FOUND.values() for pattern in found_by}
    assert patterns == set().union(*found.values()), "found by no script"
