"""Jobs: submit rate, submit to start, lists of 100,000 jobs, heartbeats, event streams, progress.

Everything is real: an embedded Valkey, the manager door under gunicorn, a worker. Latencies are the
store's own clock between the records «submitted» and «claimed». Goals: 500 submits/s on two cores,
start within 10 ms (median), a page of 50 out of 100,000 within 5 ms, progress below 1 %.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import requests

from backends.tree import CopyOptions, copy_tree
from benchmarks._load import load, request
from core.jobs import State
from core.jobs.requests import UsageRequest
from core.jobs.store import JobEnd, JobLists, JobStore, Query, Submission
from core.redis import Database, connect
from tests.support.node import Node
from tests.support.valkey import Valkey, running_valkey
from workers.run import Run
from workers.run.node_signals import Drain

SUBMIT_SECONDS = 5.0
CALLERS = 8
STARTS = 200
INDEXED = 100_000
PAGES = 50
BEATS = 2000
FOLLOWERS = 100
FILES = 20_000
ROUNDS = 5
#: Five times shorter than the default: five times the beats.
LEASE_SECONDS = 6.0
_VOLUME = "local"
AUTH_HEADER = "X-BackendAI-Storage-Auth-Token"


def main(_arguments: list[str]) -> None:
    with valkey() as server:
        store_alone(server)
    with node() as running:
        submit_rate(running)
        start_latency(running)
        fan_out(running)
    with valkey() as server:
        progress_cost(server)


@contextmanager
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder, running_valkey(Path(folder)) as server:
        yield server


@contextmanager
def node() -> Iterator[Node]:
    with tempfile.TemporaryDirectory() as folder:
        running = Node(Path(folder))
        running.start()
        running.wait_until_it_says("The node runs.")
        try:
            yield running
        finally:
            running.stop()


def must(held: bool) -> None:  # noqa: FBT001 - it reads as an assertion
    if not held:
        raise RuntimeError("the store refused what the benchmark needs")


def vfolder() -> str:
    return f"user:{UUID(int=1)}/{uuid4().hex}"


def usage(folder: str) -> Submission:
    return Submission(UsageRequest(volume=_VOLUME, vfolder=folder))


def timed(act: Callable[[], object], times: int) -> list[float]:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        samples.append(time.perf_counter() - began)
    return samples


def tell(name: str, samples: list[float]) -> None:
    ordered = sorted(samples)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{name:42} median {statistics.median(ordered) * 1e3:8.2f} ms   p99 {p99 * 1e3:8.2f} ms")


def store_alone(server: Valkey) -> None:
    client = server.client(1)
    store = JobStore(client, lambda _ring: None)
    before = int(client.info("memory")["used_memory"])
    began = time.perf_counter()
    for _ in range(INDEXED):
        store.submit(usage(vfolder()))
    took = time.perf_counter() - began
    grown = int(client.info("memory")["used_memory"]) - before
    print(f"record, index and read back one job         {INDEXED / took:8.0f} /s in one thread")
    print(f"memory of {INDEXED:,} jobs                    {grown / 2**20:8.0f} MiB")
    lists = JobLists(client)
    cursor = lists.page(Query(limit=500)).next
    tell("page of 50, newest", timed(lambda: lists.page(Query()), PAGES))
    tell("page of 50, deeper", timed(lambda: lists.page(Query(cursor=cursor)), PAGES))
    state = Query(filters={"state": "queued", "verb": "usage"})
    tell("page of 50, two filters", timed(lambda: lists.page(state), PAGES))
    store.set_slots(_VOLUME, 1, 1)
    job = lists.page(Query(filters={"state": "queued"}, cursor="2")).jobs[0]
    must(store.claim(job.id, "run", "node", 30) == "ok")
    tell("heartbeat", timed(lambda: store.heartbeat(job, "run", 30, "{}"), BEATS))
    store.finish(job.id, "run", JobEnd(State.SUCCEEDED))


class Caller:
    """A manager that keeps its connection."""

    def __init__(self, running: Node) -> None:
        settings = running.settings
        self.base = f"http://{settings.api.manager.address}"
        self._local = threading.local()
        self._headers = {AUTH_HEADER: settings.api.manager.secret}

    @property
    def session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._local, "session", None)
        if found is None:
            found = self._local.session = requests.Session()
            found.headers.update(self._headers)
        return found

    def folder(self) -> str:
        folder = vfolder()
        made = self.session.post(
            f"{self.base}/folder/create", json={"volume": _VOLUME, "vfid": folder}
        )
        made.raise_for_status()
        return folder

    def submit(self, folder: str, verb: str = "usage") -> dict[str, object]:
        answer = self.session.post(
            f"{self.base}/v1/jobs", json={"verb": verb, "volume": _VOLUME, "vfolder": folder}
        )
        answer.raise_for_status()
        document: dict[str, object] = answer.json()
        return document

    def get(self, path: str, **options: object) -> dict[str, object]:
        answer = self.session.get(f"{self.base}{path}", **options)  # type: ignore[arg-type] # requests' own options
        answer.raise_for_status()
        document: dict[str, object] = answer.json()
        return document


def submit_rate(running: Node) -> None:
    """Deletes of absent vfolders: the cheapest job there is, so the door is what is measured."""
    caller = Caller(running)
    with running_store(running) as store:
        store.pause_volume(_VOLUME)
        _tell_submits(running, "alone")
        store.pause_volume(_VOLUME, resume=True)
    _until_idle(caller)
    _tell_submits(running, "while a worker runs them")
    _until_idle(caller)


def _tell_submits(running: Node, how: str) -> None:
    manager = running.settings.api.manager
    headers = {AUTH_HEADER: manager.secret, "Content-Type": "application/json"}

    def ask() -> bytes:
        folder = f"user:{UUID(int=2)}/{uuid4().hex}"
        body = {"verb": "delete", "volume": _VOLUME, "vfolder": folder}
        return request("POST", "/v1/jobs", orjson.dumps(body), **headers)

    door = running.pid_of(("api.serve", "manager"))
    found = load(
        manager.address.port, ask, server=door, connections=CALLERS, seconds=SUBMIT_SECONDS
    )
    print(
        f"submit over HTTP, {how:25}{found.rate:8.0f} /s   median {found.p50_ms:8.2f} ms   "
        f"p99 {found.p99_ms:8.2f} ms   door {found.cpu_us / 1000:.2f} ms of CPU"
    )


def _until_idle(caller: Caller) -> None:
    while caller.get("/v1/jobs?state=queued&limit=1")["jobs"]:
        time.sleep(0.2)


def start_latency(running: Node) -> None:
    caller = Caller(running)
    folder = caller.folder()
    samples = []
    for _ in range(STARTS):
        job = str(caller.submit(folder)["id"])
        done = caller.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=10"})
        samples.append(_seconds(str(done["started_at"])) - _seconds(str(done["created_at"])))
    tell("submit to start", samples)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def fan_out(running: Node) -> None:
    """One job followed by many; each change reaches every follower."""
    caller = Caller(running)
    folder = caller.folder()
    with running_store(running) as store:
        store.pause_volume(_VOLUME)
        job = str(caller.submit(folder)["id"])
        arrivals: list[float] = []
        ready = threading.Barrier(FOLLOWERS + 1)
        threads = [
            threading.Thread(target=_follow, args=(caller, job, arrivals, ready))
            for _ in range(FOLLOWERS)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        time.sleep(0.5)
        began = time.perf_counter()
        store.cancel(job)
        for thread in threads:
            thread.join()
        store.pause_volume(_VOLUME, resume=True)
    tell(f"one change to {FOLLOWERS} event streams", [at - began for at in arrivals])


def _follow(caller: Caller, job: str, arrivals: list[float], ready: threading.Barrier) -> None:
    with caller.session.get(f"{caller.base}/v1/jobs/{job}/events", stream=True) as stream:
        stream.raise_for_status()
        lines = stream.iter_lines()
        next(lines)
        ready.wait()
        for line in lines:
            if line == b"event: done":
                arrivals.append(time.perf_counter())
                return


@contextmanager
def running_store(running: Node) -> Iterator[JobStore]:
    client = connect(running.settings, Database.JOBS)
    yield JobStore(client, lambda _ring: None)
    client.close()


def progress_cost(server: Valkey) -> None:
    """The share of a copy's CPU seconds that the heartbeat's thread takes, with a short lease."""
    client = server.client(1)
    store = JobStore(client, lambda _ring: None)
    store.set_slots(_VOLUME, 1, 1)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        source = Path(folder) / "source"
        for number in range(FILES):
            path = source / f"d{number % 300}"
            path.mkdir(parents=True, exist_ok=True)
            (path / f"f{number}").write_bytes(b"x" * (number % 8000))
        shares = [_share(store, source, Path(folder) / f"c{n}") for n in range(ROUNDS)]
    print(
        f"copy of {FILES:,} files: progress takes      median {statistics.median(shares):.2%} "
        f"of its CPU (lease {LEASE_SECONDS:g} s)",
    )


def _share(store: JobStore, source: Path, target: Path) -> float:
    job = store.submit(usage(vfolder()))
    run = Run(store, job, LEASE_SECONDS, drain=Drain())
    must(store.claim(job.id, run.id, "node", LEASE_SECONDS) == "ok")
    run.start(lambda _snapshot: None)
    beat = next(t for t in threading.enumerate() if t.name == "heartbeat" and t.ident)
    clock = time.pthread_getcpuclockid(beat.ident or 0)
    target.mkdir()
    one, two = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target))
    began, beaten = _cpu_seconds(), time.clock_gettime(clock)
    copy_tree(one, two, control=run, options=CopyOptions(durable=False))
    took, beats = _cpu_seconds() - began, time.clock_gettime(clock) - beaten
    os.close(one)
    os.close(two)
    run.stop()
    run.close()
    store.finish(job.id, run.id, JobEnd(State.SUCCEEDED))
    return beats / took


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
