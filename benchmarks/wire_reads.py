"""The manager door's reads beside a bare aiohttp server with the same work and processes.

Rates depend on what else runs here: the ratios are medians over rounds in which both were asked in
turn. `cpu` is what the server's processes spent per answer.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import requests

from benchmarks._bare_server import HEADER, SECRET, VOLUMES
from benchmarks._load import Load, load, request
from core.names import QuotaScope, VFolderId
from tests.support.ports import free_port

ROUNDS = 5
SECONDS = 2.0
SMALL, LARGE, PAGE = 1000, 100_000, 1000
FOLDERS = {SMALL: UUID(int=1), LARGE: UUID(int=2)}


def main(_: list[str]) -> None:
    room = Path(tempfile.mkdtemp(prefix="bench-wire-"))
    scope = QuotaScope.parse(f"user:{uuid4()}")
    places = {count: _folder(room, scope, count) for count in FOLDERS}
    try:
        with _door(room) as ours, _bare(places[SMALL]) as small, _bare(places[LARGE]) as large:
            _compare_volumes(ours, small)
            _compare_listing(ours, small, str(VFolderId(scope, FOLDERS[SMALL])))
            _compare_pages(ours, large, str(VFolderId(scope, FOLDERS[LARGE])))
    finally:
        shutil.rmtree(room, ignore_errors=True)


class Server:
    """A port and the process behind it."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self.process = process

    def ask(self, data: bytes, connections: int = 16, seconds: float = SECONDS) -> Load:
        return load(
            self.port,
            lambda: data,
            server=self.process.pid,
            connections=connections,
            seconds=seconds,
        )


def _compare_volumes(ours: Server, bare: Server) -> None:
    data = request("GET", "/volumes", b"", **{HEADER: SECRET})
    _rounds(
        f"GET /volumes ({VOLUMES} volumes)",
        {"aiohttp": lambda: bare.ask(data), "ours": lambda: ours.ask(data)},
    )


def _compare_listing(ours: Server, bare: Server, vfid: str) -> None:
    body: dict[str, object] = {"volume": "volume0", "vfid": vfid, "relpath": "."}
    data = _request("/folder/file/list", body)
    schema = _request("/by-schema", body)
    _rounds(
        f"list of {SMALL:,} entries",
        {
            "aiohttp": lambda: bare.ask(data),
            "aiohttp, a schema per item": lambda: bare.ask(schema),
            "ours": lambda: ours.ask(data),
        },
    )


def _compare_pages(ours: Server, bare: Server, vfid: str) -> None:
    body = {"volume": "volume0", "vfid": vfid, "relpath": "."}
    whole = _request("/folder/file/list", {**body, "limit": LARGE})
    page = _request("/folder/file/list", {**body, "limit": PAGE})
    middle = _request("/folder/file/list", {**body, "limit": PAGE, "cursor": "f0050000"})
    _rounds(
        f"list of {LARGE:,} entries, one caller",
        {
            "aiohttp, all": lambda: bare.ask(whole, 1, 4),
            "ours, all": lambda: ours.ask(whole, 1, 4),
            "ours, a page": lambda: ours.ask(page, 1, 2),
            "ours, a page in the middle": lambda: ours.ask(middle, 1, 2),
        },
    )


def _request(path: str, body: dict[str, object]) -> bytes:
    return request("POST", path, json.dumps(body).encode(), **{HEADER: SECRET})


def _rounds(title: str, variants: dict[str, Callable[[], Load]]) -> None:
    found: dict[str, list[Load]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, run in variants.items():
            found[name].append(run())
    base = found[next(iter(variants))]
    print(f"  {title}")
    print(f"    {'':28} {'rate':>9} {'x':>6} {'p50':>9} {'p99':>9} {'cpu':>9} {'x':>6}")
    for name, loads in found.items():
        rate = statistics.median(one.rate for one in loads)
        ratio = statistics.median(a.rate / b.rate for a, b in zip(loads, base, strict=True))
        cpu = statistics.median(one.cpu_us for one in loads)
        more = statistics.median(a.cpu_us / b.cpu_us for a, b in zip(loads, base, strict=True))
        p50 = statistics.median(one.p50_ms for one in loads)
        p99 = statistics.median(one.p99_ms for one in loads)
        print(
            f"    {name:28} {rate:7.0f}/s {ratio:6.2f} {p50:7.2f}ms {p99:7.2f}ms "
            f"{cpu:7.0f}us {more:6.2f}",
            flush=True,
        )


def _folder(room: Path, scope: QuotaScope, count: int) -> Path:
    path = room / "volume" / VFolderId(scope, FOLDERS[count]).directory
    path.mkdir(parents=True)
    for number in range(count):
        (path / f"f{number:07}").touch()
    return path


@contextmanager
def _door(room: Path) -> Iterator[Server]:
    port = free_port()
    volumes = "".join(
        f'[volume.volume{n}]\nbackend = "vfs"\npath = "volume"\n' for n in range(VOLUMES)
    )
    config = room / "storage-proxy.toml"
    config.write_text(
        f"""
[storage-proxy]
node-id = "bench"
secret = "{uuid4().hex}"
session-expire = "1d"
scandir-limit = {SMALL}
[api.manager]
service-addr = "127.0.0.1:{port}"
secret = "{SECRET}"
[vfolder.redis]
url = "redis://127.0.0.1:1"
{volumes}
""",
    )
    command = [sys.executable, "-m", "api.serve", "manager"]
    yield from _running(port, command, VFOLDER_CONFIG=str(config))


@contextmanager
def _bare(directory: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._bare_server", str(port), str(directory)]
    yield from _running(port, command)


def _running(port: int, command: list[str], **environ: str) -> Iterator[Server]:
    process = subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with suppress(requests.RequestException):
                requests.get(f"http://127.0.0.1:{port}/volumes", timeout=5)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command} does not answer")
            time.sleep(0.05)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait(30)
