"""Downloads against nginx (sendfile, as it comes and tuned): whole files, ranges, small files."""

import math
import os
import selectors
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from benchmarks._doors import Bench, Case, Server, measure, running, show
from benchmarks._places import options

SMALL_BYTES = 4096
CONNECTIONS = 16


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=7, mib=1024, requests=4000)
    size = chosen.mib << 20
    with running() as bench:
        block = os.urandom(1 << 20)
        with (bench.files / "big").open("wb") as file:
            for _ in range(chosen.mib):
                file.write(block)
        (bench.files / "small").write_bytes(os.urandom(SMALL_BYTES))
        for name in ("big", "small"):
            (bench.files / name).chmod(0o644)
        for title, streams, span in (
            ("whole file, 1 stream", 1, None),
            ("whole file, 4 streams", 4, None),
            ("last half as a range, 1 stream", 1, (size // 2, size - 1)),
            ("last half as a range, 4 streams", 4, (size // 2, size - 1)),
        ):
            cases = _cases(bench, "big", lambda url, n=streams, s=span: fetch(url, n, s))
            measure(cases, chosen.rounds)
            share = (size if span is None else span[1] + 1 - span[0]) >> 20
            show(title, cases, share * streams, "MiB")
        cases = _cases(bench, "small", lambda url: many(url, chosen.requests))
        measure(cases, chosen.rounds)
        show(f"4 KiB files over {CONNECTIONS} connections", cases, chosen.requests, "req")


def _cases(bench: Bench, name: str, run: Callable[[str], object]) -> list[Case]:
    def case(title: str, url: str, server: Server) -> Case:
        return Case(title, lambda: run(url), server)

    found = [case(title, f"{one.url}/{name}", one) for title, one in bench.nginx.items()]
    return [*found, case("client door", bench.download(name), bench.door)]


def fetch(url: str, streams: int, span: tuple[int, int] | None) -> None:
    """Read answers to their end, each in a process of its own, without copying them."""
    children = []
    for _ in range(streams):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _fetch(url, span)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"a download failed: {url}")


def _fetch(url: str, span: tuple[int, int] | None) -> None:
    at = urlsplit(url)
    wanted = f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
    target = f"{at.path}?{at.query}" if at.query else at.path
    with socket.create_connection((at.hostname or "", at.port or 0)) as client:
        text = f"GET {target} HTTP/1.1\r\nHost: x\r\n{wanted}Connection: close\r\n\r\n"
        client.sendall(text.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        head, _, body = head.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split()
        left = int(length[0]) - len(body) if length else math.inf  # what is packed ends by closing
        buffer = bytearray(1 << 20)
        while left > 0:
            got = client.recv_into(buffer, len(buffer), socket.MSG_TRUNC)
            if not got and not length:
                return
            if not got:
                raise SystemExit("the body was cut")
            left -= got


def many(url: str, total: int) -> None:
    """Small answers, one after the other on each of a few connections."""
    at = urlsplit(url)
    target = f"{at.path}?{at.query}" if at.query else at.path
    ask = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    poll = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        client = socket.create_connection((at.hostname or "", at.port or 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(client, selectors.EVENT_READ, bytearray())
        client.sendall(ask)
    done = 0
    deadline = time.monotonic() + 120
    while done < total:
        if time.monotonic() > deadline:
            raise SystemExit("too slow to measure")
        for key, _ in poll.select(5):
            key.data.extend(key.fileobj.recv(65536))
            head = key.data.find(b"\r\n\r\n")
            if head >= 0 and len(key.data) >= head + 4 + SMALL_BYTES:
                key.data.clear()
                done += 1
                key.fileobj.sendall(ask)
    for key in list(poll.get_map().values()):
        key.fileobj.close()
    poll.close()
