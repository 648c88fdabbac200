"""Downloads under the bandwidth budget of a volume: how much of it they move, and at what cost."""

import selectors
import socket
import statistics
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import redis
import requests

from benchmarks._doors import Bench, running
from benchmarks._places import options
from core.cluster import BandwidthStore
from core.redis import Database

#: Read at a time from a socket that has something.
READ_BYTES = 1 << 20
#: While streams move, a short request is sent at this interval (seconds).
PING_SECONDS = 0.1
#: Not measured: the streams begin, and the processes hear of each other.
SETTLE_SECONDS = 4.0


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, mib=50, seconds=6)
    with (
        running(nginx=False) as bench,
        redis.Redis(port=bench.redis_port, db=int(Database.JOBS)) as store,
    ):
        limit = chosen.mib << 20
        BandwidthStore(store).set("local", limit)
        with (bench.files / "big").open("wb") as file:
            file.truncate(1 << 40)
        print(f"  a budget of {chosen.mib} MiB/s: {chosen.rounds} rounds of {chosen.seconds} s")
        for streams in (1, 4, 100, 1000):
            seen = [_round(bench, streams, chosen.seconds) for _ in range(chosen.rounds)]
            shares = sorted(moved / limit for moved, _, _ in seen)
            cpu = statistics.median(cpu for _, cpu, _ in seen)
            ping = statistics.median(ping for _, _, ping in seen) * 1000
            print(
                f"  {streams:5} streams: {statistics.median(shares):.3f} of it "
                f"({shares[0]:.3f}-{shares[-1]:.3f}), door {cpu:.2f} s of CPU per second, "
                f"a short request {ping:.1f} ms",
                flush=True,
            )


def _round(bench: Bench, streams: int, seconds: float) -> tuple[float, float, float]:
    """Bytes and CPU seconds per second, and the median seconds of a short request."""
    with ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        for _ in range(streams):
            reader = stack.enter_context(_begun(bench.download("big")))
            waiting.register(reader, selectors.EVENT_READ)
        _read(waiting, bench.door.url, SETTLE_SECONDS)
        cpu, began = bench.door.cpu(), time.perf_counter()
        moved, pings = _read(waiting, bench.door.url, seconds)
        took = time.perf_counter() - began
        return moved / took, (bench.door.cpu() - cpu) / took, statistics.median(pings)


def _begun(url: str) -> socket.socket:
    at = urlsplit(url)
    reader = socket.create_connection((at.hostname or "", at.port or 0))
    reader.sendall(f"GET {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    reader.settimeout(0)
    return reader


def _read(waiting: selectors.BaseSelector, door: str, seconds: float) -> tuple[int, list[float]]:
    """Read what comes; the bytes, and how long short requests took meanwhile."""
    moved, pings = 0, []
    end = time.monotonic() + seconds
    with requests.Session() as session:
        while (now := time.monotonic()) < end:
            session.get(f"{door}/", timeout=30).raise_for_status()
            pings.append(time.monotonic() - now)
            while (left := now + PING_SECONDS - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    moved += len(key.fileobj.recv(READ_BYTES))
    return moved, pings
