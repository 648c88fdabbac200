"""Shared store: what holders of quota, open uploads, nodes and volumes cost the one store.

A real Valkey. The ledger of quotas with 1,000 to 100,000 holders of one scope; the gauge of 300,000
open uploads, beside the scan that it replaced; the end of a job that 50 nodes see at once; and the
connections of one real node (worker and three doors) with 1 and 10 volumes. Goals: 2 ms for a
script, and a number of connections that does not grow with the volumes.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import redis

from benchmarks._places import options
from core.events import Bus
from core.events.outbox import Outbox
from core.jobs import State
from core.jobs.requests import DeleteRequest
from core.jobs.store import JobEnd, JobStore, Submission
from core.quota import Account, QuotaLedger
from core.uploads import UploadStore
from core.uploads.store import OPEN_KEY
from tests.support.doors import running_door, settings_in
from tests.support.valkey import Valkey, running_valkey
from tests.support.worker import running_worker

HOLDERS = (1_000, 10_000, 100_000)
UPLOADS = 300_000
NODES = 50
TIMES = 200
PIPELINE = 1_000
LIMIT = 10**15
DAY_SECONDS = 86_400


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=HOLDERS[-1])
    with tempfile.TemporaryDirectory() as folder, running_valkey(Path(folder) / "store") as server:
        for holders in (number for number in HOLDERS if number <= chosen.entries):
            _ledger(server, holders)
        _uploads(server)
        _outbox(server)
    for volumes in (1, 10):
        _connections(volumes)


def _server_us(client: "redis.Redis", call: Callable[[], object]) -> int:
    before = client.info("commandstats")
    call()
    after = client.info("commandstats")
    return sum(
        after[name]["usec"] - before.get(name, {"usec": 0})["usec"]
        for name in after
        if name != "cmdstat_info"
    )


def _print(name: str, samples: list[int]) -> None:
    middle, worst = statistics.median(samples) / 1000, max(samples) / 1000
    print(f"  {name:28} median {middle:8.3f} ms   worst {worst:8.3f} ms", flush=True)


def _ledger(server: Valkey, holders: int) -> None:
    client = server.client(1)
    client.flushall()
    ledger = QuotaLedger(client, "v")
    ledger.record_count("s", 0, 0)
    end_ms = int(time.time() + DAY_SECONDS) * 1000
    for start in range(0, holders, PIPELINE):
        names = [f"h{number}" for number in range(start, min(start + PIPELINE, holders))]
        client.hset("vf:holds:v:s", mapping=dict.fromkeys(names, f"5 {end_ms}"))
    print(f"\n{holders:,} holders of one scope")
    _print("first read of a former store", [_server_us(client, lambda: ledger.read("s"))])
    moves: dict[str, Callable[[], object]] = {
        "reserve": lambda: ledger.reserve([Account("s", LIMIT, "s")], "mine", 5),
        "read": lambda: ledger.read("s"),
        "settle": lambda: ledger.settle(["s"], "mine", 5),
    }
    took: dict[str, list[int]] = {name: [] for name in moves}
    for _ in range(TIMES):
        for name, move in moves.items():
            took[name].append(_server_us(client, move))
    for name, samples in took.items():
        _print(name, samples)


def _uploads(server: Valkey) -> None:
    client = server.client(8)
    client.flushall()
    end = time.time() + DAY_SECONDS
    for start in range(0, UPLOADS, PIPELINE):
        with client.pipeline(transaction=False) as pipe:
            for number in range(start, start + PIPELINE):
                pipe.set(f"tus.upload.offset:{number:032x}", "0", ex=DAY_SECONDS)
                pipe.zadd(OPEN_KEY, {f"{number:032x}": end})
            pipe.execute()
    print(f"\n{UPLOADS:,} open uploads")
    store = UploadStore(client, "n")
    _print("gauge", [_server_us(client, store.count) for _ in range(TIMES)])
    scan = lambda: sum(1 for _ in client.scan_iter("tus.upload.offset:*", count=1000))  # noqa: E731 - once
    _print("the former scan", [_server_us(client, scan)])


def _outbox(server: Valkey) -> None:
    jobs = server.client(1)
    jobs.flushall()
    store = JobStore(jobs, lambda _: None)
    store.set_slots("v", 1000, 1000)
    outboxes = [Outbox(server.client(1), Bus(server.client(4))) for _ in range(NODES)]
    for outbox in outboxes:
        outbox.flush()

    def all_flush() -> None:
        threads = [threading.Thread(target=outbox.flush) for outbox in outboxes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    samples = []
    for number in range(TIMES):
        vfolder = f"user:{UUID(int=1)}/{number:032x}"
        job = store.submit(Submission(DeleteRequest(volume="v", vfolder=vfolder))).id
        store.claim(job, "r", "n", 60)
        store.finish(job, "r", JobEnd(State.SUCCEEDED, "{}"))
        samples.append(_server_us(jobs, all_flush))
    print(f"\nan ended job, {NODES} processes that look at once")
    _print("server time", samples)


def _connections(volumes: int) -> None:
    more = "[vfolder.doors]\nprocesses = 1\n" + "".join(
        f'[volume.v{number}]\nbackend = "vfs"\npath = "v{number}"\n' for number in range(1, volumes)
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        directory = Path(folder)
        for number in range(1, volumes):
            (directory / f"v{number}").mkdir()
        server = held.enter_context(running_valkey(directory / "store"))
        settings = settings_in(directory, server.url, more)
        held.enter_context(running_worker(settings))
        doors = [
            held.enter_context(running_door(name, settings))
            for name in ("manager", "client", "internal")
        ]
        for name in settings.volume:
            body = {"volume": name, "qsid": f"user:{UUID(int=7)}", "options": {"limit_bytes": 9}}
            doors[0].call("POST", "/quota-scope", body)
        used = server.client(1).info("clients")["connected_clients"] - 1
        print(f"\n{volumes} volumes: {used} connections of one node (a worker, three doors)")
