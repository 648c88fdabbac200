"""A short request while 1,000 readers stall in a big file, or others in archives; memory of each.

And one while archives are packed for readers that take all they get.
"""

import os
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import requests

from benchmarks._doors import Bench, running
from benchmarks._places import options, small_files
from benchmarks.archives import archive, library
from benchmarks.downloads import fetch


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, readers=1000, mib=1024, files=20_000, packed=8)
    with running(nginx=False) as bench:
        with (bench.files / "big").open("wb") as file:
            file.truncate(chosen.mib << 20)
        url = bench.download("big")
        print(f"  {0:5} stalled: {_ping(bench.door.url)}")
        _stall(bench, "a file", url, chosen.readers)
        small_files(bench.files / "small", chosen.files)
        for form, readers in (
            ("zip", chosen.readers // 5),
            ("tar", chosen.readers // 5),
            ("tar.gz", 40),
        ):
            _stall(bench, form, f"{archive(bench, 'small')}&format={form}", readers)
        library(bench.files / "library")
        for form in ("zip-deflate", "tar.gz"):
            with _busy(f"{archive(bench, 'library')}&format={form}", chosen.packed):
                print(f"  {chosen.packed:5} packed as {form}: {_ping(bench.door.url)}")


def _stall(bench: Bench, what: str, url: str, count: int) -> None:
    before = bench.door.memory()
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_stalled(url))
        ping = _ping(bench.door.url)
        grown = (bench.door.memory() - before) / count / 1024
        print(f"  {count:5} stalled in {what}: {ping}; {grown:.1f} KiB a reader")
    time.sleep(1)


@contextmanager
def _busy(url: str, count: int) -> Iterator[None]:
    """Readers in processes of their own, who begin again at the end."""
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            while True:
                fetch(url, 1, None)
        children.append(child)
    time.sleep(1)
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _stalled(url: str) -> socket.socket:
    at = urlsplit(url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect((at.hostname or "", at.port or 0))
    client.sendall(f"GET {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    if client.recv(12) != b"HTTP/1.1 200":
        raise SystemExit("a reader was refused")
    return client


def _ping(url: str) -> str:
    with requests.Session() as session:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            session.get(f"{url}/", timeout=30).raise_for_status()
            times.append((time.perf_counter() - began) * 1000)
    return f"median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms"
