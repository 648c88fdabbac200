"""Load from several processes over connections that stay open, with little client work."""

import os
import socket
import statistics
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Load:
    """What came out: answers per second, milliseconds, and CPU the server spent per answer."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def request(method: str, path: str, body: bytes, **headers: str) -> bytes:
    """One request, ready to send."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(
    port: int,
    ask: Callable[[], bytes],
    *,
    server: int,
    connections: int = 16,
    seconds: float = 3.0,
) -> Load:
    """Ask again and again on `connections` connections; `server` is the server's process id."""
    before = _cpu(server)
    began = time.monotonic()
    pipes = [_fork(port, ask, seconds) for _ in range(connections)]
    times: list[float] = []
    for pid, pipe in pipes:
        with os.fdopen(pipe, "rb") as reader:
            text = reader.read()
        os.waitpid(pid, 0)
        times += struct.unpack(f"!{len(text) // 8}d", text)
    spent = time.monotonic() - began
    cpu = _cpu(server) - before
    if not times:
        raise SystemExit("no answer at all")
    times.sort()
    return Load(
        len(times) / spent,
        statistics.median(times) * 1000,
        times[int(len(times) * 0.99)] * 1000,
        cpu / len(times) * 1e6,
    )


def _cpu(server: int) -> float:
    total = 0.0
    parent = psutil.Process(server)
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system
    return total


def _fork(port: int, ask: Callable[[], bytes], seconds: float) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        os.close(reader)
        times = _ask(port, ask, seconds)
        with os.fdopen(writer, "wb") as out:
            out.write(struct.pack(f"!{len(times)}d", *times))
        status = 0
    finally:
        os._exit(status)


def _ask(port: int, ask: Callable[[], bytes], seconds: float) -> list[float]:
    times = []
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray(1 << 20)
        while (began := time.monotonic()) < deadline:
            connection.sendall(ask())
            answer(connection, buffer)
            times.append(time.monotonic() - began)
    return times


def answer(connection: socket.socket, buffer: bytearray) -> None:
    """Read one answer; it must be a success with a length."""
    size = 0
    while (end := buffer.find(b"\r\n\r\n", 0, size)) < 0:
        got = connection.recv_into(memoryview(buffer)[size:])
        if not got:
            raise SystemExit("the server closed the connection")
        size += got
    head = bytes(buffer[:end]).lower()
    if b" 20" not in head[:12]:
        raise SystemExit(head.decode("latin-1"))
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    left = end + 4 + length - size
    view = memoryview(buffer)
    while left > 0:
        left -= connection.recv_into(view, min(left, len(buffer)))
