"""A short request while 1,000 readers stall in the middle of a big file; memory per reader."""

import socket
import statistics
import time
from urllib.parse import urlsplit

import requests

from benchmarks._doors import running
from benchmarks._places import options


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, readers=1000, mib=1024)
    with running(nginx=False) as bench:
        with (bench.files / "big").open("wb") as file:
            file.truncate(chosen.mib << 20)
        url = bench.download("big")
        print(f"  {0:5} stalled: {_ping(bench.door.url)}")
        before = bench.door.memory()
        readers = [_stalled(url) for _ in range(chosen.readers)]
        grown = (bench.door.memory() - before) / len(readers) / 1024
        print(f"  {len(readers):5} stalled: {_ping(bench.door.url)}; {grown:.1f} KiB a reader")
        for reader in readers:
            reader.close()


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
