"""Probes and scrapes of each door beside half heads, silent connections and half bodies."""

import json
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks._places import options
from tests.support.doors import AUTH, RunningDoor, running_door, settings_in
from tests.support.valkey import running_valkey

#: No connection is closed while it is measured.
KEPT = "[vfolder.doors]\nhead-seconds = 3600\nwaiting-per-address = 0\n"
PROBES = {"manager": ("/livez",), "client": ("/", "/page"), "internal": ("/livez", "/metrics")}
HALF_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
HALF_BODY = b"POST /folder/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n%b\r\nx"
SECRET = "".join(f"{name}: {value}\r\n" for name, value in AUTH.items()).encode()


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=100, connections=1200, bodies=500)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        room = Path(place)
        (room / "store").mkdir()
        store = stack.enter_context(running_valkey(room / "store"))
        settings = settings_in(room, store.url, KEPT)
        doors = {name: stack.enter_context(running_door(name, settings)) for name in PROBES}
        for name, door in doors.items():
            rounds = chosen.rounds
            print(f"  {name}: alone: {_probed(door, name, rounds)}")
            for kind, sent in (("half heads", HALF_HEAD), ("silent connections", b"")):
                with _callers(door, [sent] * chosen.connections):
                    times = _probed(door, name, rounds)
                print(f"  {name}: {chosen.connections} {kind}: {times}")
            bodies = [HALF_BODY % SECRET] * chosen.bodies
            if name == "client":
                bodies = list(_half_uploads(doors["manager"], chosen.bodies))
            with _callers(door, bodies):
                times = _probed(door, name, rounds)
            print(f"  {name}: {chosen.bodies} half bodies: {times}")


@contextmanager
def _callers(door: RunningDoor, heads: list[bytes]) -> Iterator[None]:
    address = urlsplit(door.url)
    with ExitStack() as stack:
        for sent in heads:
            connection = socket.create_connection((address.hostname, address.port), 60)
            stack.enter_context(connection)
            connection.sendall(sent)
        time.sleep(1)
        yield
    time.sleep(3)


def _half_uploads(manager: RunningDoor, count: int) -> Iterator[bytes]:
    """One byte each of so many uploads, which hold their threads."""
    vfolder = f"user:{uuid.uuid4()}/{uuid.uuid4().hex}"
    _call(manager, "/quota-scope", qsid=vfolder.partition("/")[0])
    _call(manager, "/folder/create", vfid=vfolder)
    for number in range(count):
        order = {"vfid": vfolder, "relpath": f"f{number}", "size": 100_000}
        token = _call(manager, "/folder/file/upload", **order)["token"]
        yield (
            f"PATCH /upload?token={token} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            "Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n"
            "Content-Length: 100000\r\n\r\nx"
        ).encode()


def _call(manager: RunningDoor, path: str, **body: object) -> Any:  # noqa: ANN401 - any JSON
    answer = manager.send("POST", path, json={"volume": "local", **body})
    answer.raise_for_status()
    return json.loads(answer.text or "null")


def _probed(door: RunningDoor, name: str, rounds: int) -> str:
    found = []
    for path in PROBES[name]:
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            requests.get(door.url + path, headers={"Connection": "close"}, timeout=30)
            times.append((time.perf_counter() - began) * 1000)
        found.append(f"{path} median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    return "; ".join(found)
