"""Queue: server time of each script of the job store with 1,000 to 100,000 waiting jobs.

A real Valkey alone: no doors, no workers. Three populations: readers behind one writer of a
vfolder, writers of one vfolder, and jobs of as many quota scopes that wait for one volume. Each
move is made some times, and the server's own statistics say what each script took. Goals: 2 ms for
a script, 5 ms for one that works in batches, 500 submits a second.
"""

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import redis

from benchmarks._places import options
from core.jobs import Job, State
from core.jobs.job import new_id
from core.jobs.requests import CloneRequest, DeleteFilesRequest, DeleteRequest, UsageRequest
from core.jobs.store import JobEnd, JobLists, JobStore, Query, Submission
from core.redis import dumps
from tests.support.valkey import running_valkey


def vfolder(scope: int) -> str:
    return f"user:{UUID(int=scope)}/{uuid4().hex}"


SIZES = (1_000, 10_000, 100_000)
TIMES = 100
PIPELINE = 500
VOLUME = "v"
GOAL_US, BATCH_GOAL_US = 2_000, 5_000
ENDED = 5_000
RESULT = dumps(
    {"sentence": "18,204 files cloned", "source": vfolder(1), "target": vfolder(2)}
    | dict.fromkeys(("files", "directories", "links", "hard_links"), 18_204)
    | {"copied_bytes": 3_408_486_046_105, "complete": True, "not_kept": {}}
)
PROGRESS = dumps(
    {"text": "publish 100%  3.1/3.1 TiB  18,204/18,204 files", "phase": "publish", "percent": 100.0}
    | {"done_items": 18_204, "total_items": 18_204, "done_bytes": 3_408_486_046_105, "errors": 0}
    | {"phases": [{"name": name, "seconds": 1.0} for name in ("plan", "copy", "publish")]}
)
#: Scripts that work in batches.
BATCHES = {"finish", "proceed", "limits", "pause_volume", "cancel", "pause", "sweep", "reap"}


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=SIZES[-1])
    with bench() as made:
        memory(made)
    for size in (number for number in SIZES if number <= chosen.entries):
        for name, population in POPULATIONS.items():
            with bench() as made:
                print(f"\n{size:,} {name}", flush=True)
                population(made, size)
                made.report()


class MeasuredStore(JobStore):
    """A store that keeps what the server takes for each of its scripts (microseconds)."""

    took: dict[str, list[int]]

    def _call(self, script: str, keys: list[str], *arguments: str | float) -> Any:  # noqa: ANN401 - as its parent
        before = _busy_us(self.redis, "cmdstat_evalsha")
        answer = super()._call(script, keys, *arguments)
        self.took[script].append(_busy_us(self.redis, "cmdstat_evalsha") - before)
        return answer


class Bench:
    """A store with a population, and the times that the server took."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self.plain = JobStore(client, lambda _bell: None)
        self.store = MeasuredStore(client, lambda _bell: None)
        self.store.took = defaultdict(list)
        self.lists = JobLists(client)
        self._readers: dict[str, list[int]] = defaultdict(list)

    def reading(self, name: str, read: Callable[[], object]) -> None:
        """Keep what all commands of one read take together."""
        for _ in range(TIMES):
            before = _busy_us(self.client)
            read()
            self._readers[name].append(_busy_us(self.client) - before)

    def report(self) -> None:
        for name, samples in sorted(self.store.took.items()):
            goal = BATCH_GOAL_US if name in BATCHES else GOAL_US
            _print(name, samples, "" if max(samples) <= goal else f"  over {goal / 1000:g} ms")
        for name, samples in self._readers.items():
            _print(name, samples, "")

    def fill(self, submissions: Iterator[Submission]) -> None:
        """Submit many jobs in pipelines, the last of them one by one as callers do."""
        script = self.plain._scripts["submit"]  # noqa: SLF001 - in pipelines, for speed
        batch = list(submissions)
        for start in range(0, len(batch) - TIMES, PIPELINE):
            with self.client.pipeline(transaction=False) as pipe:
                for one in batch[start : min(start + PIPELINE, len(batch) - TIMES)]:
                    body: tuple[str | int, ...] = dumps(one.record()), "", one.body_hash(), 60
                    script(args=[new_id(), *body], client=pipe)
                pipe.execute()
        began = time.perf_counter()
        for one in batch[-TIMES // 2 :]:
            self.plain.submit(one)
        print(f"  {TIMES / 2 / (time.perf_counter() - began):6.0f} submits/s, one after the other")
        for one in batch[-TIMES : -TIMES // 2]:
            self.store.submit(one)

    def run(self, job: str) -> None:
        """Claim a job and end it."""
        if self.store.claim(job, "run", "node", 60) == "ok":
            self.store.heartbeat(self.store.get(job), "run", 60, "{}")
            self.store.finish(job, "run", JobEnd(State.SUCCEEDED))

    def lives(self) -> None:
        """What happens to some jobs while all the others wait."""
        self.store.set_slots(VOLUME, 2, 4)
        for _ in range(TIMES):
            for job in self.client.zrange(f"vf:slots:{VOLUME}:bulk", 0, 0):
                self.run(str(job))
        newest = self.lists.page(Query()).jobs
        for one in newest[:20]:
            self.store.cancel(one.id)
        for one in newest[20:40]:
            self.store.pause(one.id)
            self.store.pause(one.id, resume=True)
        for _ in range(10):
            self.store.pause_volume(VOLUME)
            self.store.pause_volume(VOLUME, resume=True)
        self.reading("get", lambda: self.store.get(newest[-1].id))
        self.reading("queue position", lambda: self.lists.queue_position(newest[-1]))
        self.reading("page of 50", lambda: self.lists.page(Query()))
        self.store.set_slots(VOLUME, 2, 1000)
        due = [str(one) for one in self.client.zrange("vf:due", 0, 199)]
        self.client.zadd("vf:due", dict.fromkeys(due, 1))
        self.store.reap(3)
        self.client.delete("vf:outbox")
        self.store.sweep(-1, -1)


def memory(made: Bench) -> None:
    """Clones that ended, with the progress and the result of a real one."""
    store, client = made.plain, made.client
    store.set_slots(VOLUME, 2, 2)
    for turn in range(2):  # the first are for what the server allocates once
        before = int(client.info("memory")["used_memory"])
        for _ in range(ENDED):
            request = CloneRequest(volume=VOLUME, source=vfolder(1), target=vfolder(2))
            job = store.submit(Submission(request, requester="manager")).id
            store.claim(job, "0" * 32, "i-node", 60, "worker 12345")
            store.finish(job, "0" * 32, JobEnd(State.SUCCEEDED, RESULT, "", PROGRESS))
        client.delete("vf:outbox")
        if turn:
            grown = int(client.info("memory")["used_memory"]) - before
            print(f"memory of an ended clone: {grown / ENDED:.0f} bytes", flush=True)


def readers(made: Bench, size: int) -> None:
    source = vfolder(1)
    made.store.set_slots(VOLUME, 2, 2)
    writer = made.store.submit(Submission(DeleteRequest(volume=VOLUME, vfolder=source)))
    made.store.claim(writer.id, "run", "node", 60)
    made.fill(
        Submission(CloneRequest(volume=VOLUME, source=source, target=vfolder(number % 100)))
        for number in range(size)
    )
    ends(made, writer)


def writers(made: Bench, size: int) -> None:
    folder = vfolder(1)
    made.store.set_slots(VOLUME, 2, 2)
    first = made.store.submit(Submission(DeleteRequest(volume=VOLUME, vfolder=folder)))
    made.store.claim(first.id, "run", "node", 60)
    made.fill(
        Submission(DeleteFilesRequest(volume=VOLUME, vfolder=folder, paths=["a"] * 101))
        for number in range(size)
    )
    ends(made, first)


def scopes(made: Bench, size: int) -> None:
    made.store.set_slots(VOLUME, 2, 2)
    made.fill(
        Submission(UsageRequest(volume=VOLUME, vfolder=vfolder(number + 1)))
        for number in range(size)
    )
    made.lives()


def ends(made: Bench, writer: Job) -> None:
    """The end of a job that all others wait for."""
    began = time.perf_counter()
    made.store.finish(writer.id, "run", JobEnd(State.SUCCEEDED))
    while not made.store.proceed():
        pass
    print(f"  {time.perf_counter() - began:6.2f} s until all are woken")
    made.lives()


POPULATIONS = {
    "readers behind one writer": readers,
    "writers of one vfolder": writers,
    "scopes that wait for one volume": scopes,
}


@contextmanager
def bench() -> Iterator[Bench]:
    """A server that other work on the machine does not interrupt, where this process may ask so."""
    with tempfile.TemporaryDirectory() as folder, running_valkey(Path(folder)) as server:
        if server.process is not None and os.geteuid() == 0:
            os.sched_setscheduler(server.process.pid, os.SCHED_RR, os.sched_param(1))
        yield Bench(server.client(1))


def _busy_us(client: "redis.Redis", name: str = "") -> int:
    """Return what the server has spent on one command, or on all of them without a name."""
    stats = client.info("commandstats")
    return sum(
        int(one["usec"])
        for command, one in stats.items()
        if command == name or (not name and command != "cmdstat_info")
    )


def _print(name: str, samples: list[int], note: str) -> None:
    middle, worst = statistics.median(samples) / 1000, max(samples) / 1000
    times = f"median {middle:7.3f} ms   worst {worst:7.3f} ms"
    print(f"  {name:16} {len(samples):6} calls   {times}{note}")
