"""64 callers, every read and write of the manager door at random, one of three volumes hung.

Reported: answers and errors per volume, and the milliseconds of the healthy ones. The hung volume's
callers get 504 and 503; no other caller may get an error.
"""

import http.client
import os
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import requests

from tests.support.ports import free_port
from tests.support.valkey import running_valkey

CALLERS = 64
ANSWER_SECONDS = 30
SECONDS = 60.0
HEALTHY = ("one", "two")
HUNG = "bad"
SECRET = "bench-secret"  # noqa: S105 - of a throw-away server
#: In place of a status, for who got no answer: an error like those from 500 on.
NO_ANSWER = 599
_RECORD = struct.Struct("!BHd")
Body = dict[str, object]


def main(arguments: list[str]) -> None:
    seconds = SECONDS
    for word in arguments:
        if word.startswith("--seconds="):
            seconds = float(word.partition("=")[2])
    room = Path(tempfile.mkdtemp(prefix="bench-mixed-"))
    try:
        (room / "valkey").mkdir()
        with running_valkey(room / "valkey") as valkey:
            _run(room, valkey.url, seconds)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _run(room: Path, redis_url: str, seconds: float) -> None:
    port = free_port()
    config = _configure(room, port, redis_url)
    door = subprocess.Popen(
        [sys.executable, "-m", "api.serve", "manager"],
        env=os.environ | {"VFOLDER_CONFIG": str(config)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}")
        caller = _Caller(port)
        vfids = {volume: _vfolder(caller, volume) for volume in (*HEALTHY, HUNG)}
        (room / "faults.toml").write_text("hang = true\n")
        _report(_load(port, vfids, seconds), seconds)
    finally:
        (room / "faults.toml").unlink(missing_ok=True)
        door.send_signal(signal.SIGINT)
        door.wait(30)


def _configure(room: Path, port: int, redis_url: str) -> Path:
    for volume in (*HEALTHY, HUNG):
        (room / volume).mkdir()
    config = room / "storage-proxy.toml"
    config.write_text(
        f"""
[storage-proxy]
node-id = "bench"
secret = "{uuid4().hex}"
session-expire = "1d"
[api.manager]
service-addr = "127.0.0.1:{port}"
secret = "{SECRET}"
[vfolder.redis]
url = "{redis_url}"
[vfolder.doors]
backend-timeout = 5
[volume.one]
backend = "vfs"
path = "one"
[volume.two]
backend = "vfs"
path = "two"
[volume.bad]
backend = "faulty"
path = "bad"
[volume.bad.options]
backend = "vfs"
faults = "{room}/faults.toml"
""",
    )
    return config


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            requests.get(f"{url}/status", timeout=5)
            return
        time.sleep(0.05)
    raise SystemExit("the door does not answer")


class _Caller:
    """A caller of the door, on a connection that stays open: little work beside the door's own."""

    def __init__(self, port: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def ask(self, method: str, path: str, body: Body) -> int:
        """The status of the answer; who gets none says so."""
        headers = {"X-BackendAI-Storage-Auth-Token": SECRET}
        try:
            self._line.request(method, path, orjson.dumps(body) if body else None, headers)
            answer = self._line.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            print(f"  no answer to {method} {path}: {type(error).__name__}", flush=True)
            self._line.close()
            return NO_ANSWER
        return answer.status


def _vfolder(caller: _Caller, volume: str) -> str:
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    place: Body = {"volume": volume, "vfid": vfid}
    names = [f"d{number}" for number in range(50)]
    made = caller.ask("POST", "/folder/create", place)
    filled = caller.ask("POST", "/folder/file/mkdir", {**place, "relpath": names})
    if max(made, filled) >= HTTPStatus.BAD_REQUEST:
        raise SystemExit(f"no vfolder could be made: {made}, {filled}")
    return vfid


def _acts(volume: str, vfid: str) -> list[Callable[[], tuple[str, str, Body]]]:
    place: Body = {"volume": volume, "vfid": vfid}
    name = f"x{os.getpid()}"
    own = f"{vfid.partition('/')[0]}/{uuid4().hex}"
    return [
        lambda: ("GET", "/volumes", {}),
        lambda: ("GET", "/volume/hwinfo", {"volume": volume}),
        lambda: ("GET", "/folder/fs-usage", {"volume": volume}),
        lambda: ("GET", "/quota-scope", {"volume": volume, "qsid": vfid.partition("/")[0]}),
        lambda: ("GET", "/folder/mount", place),
        lambda: ("GET", "/folder/usage", place),
        lambda: ("GET", "/folder/used-bytes", place),
        lambda: ("GET", "/folder/metadata", place),
        lambda: ("POST", "/folder/metadata", {**place, "payload": "aGVsbG8="}),
        lambda: ("POST", "/folder/create", {"volume": volume, "vfid": f"{own[:-12]}{_hex(12)}"}),
        lambda: ("POST", "/folder/file/list", {**place, "relpath": "."}),
        lambda: ("POST", "/folder/file/fetch", {**place, "relpath": "nothing"}),
        lambda: (
            "POST",
            "/folder/file/mkdir",
            {**place, "relpath": [f"{name}/{_hex(2)}"], "exist_ok": True},
        ),
        lambda: ("POST", "/folder/file/download", {**place, "relpath": "d1"}),
        lambda: ("POST", "/folder/file/upload", {**place, "relpath": f"{name}-up", "size": 5}),
        lambda: (
            "POST",
            "/folder/file/delete",
            {**place, "relpaths": [name], "recursive": True},
        ),
        lambda: ("GET", "/v1/jobs", {}),
    ]


def _hex(digits: int) -> str:
    return f"{random.getrandbits(4 * digits):0{digits}x}"


def _load(port: int, vfids: dict[str, str], seconds: float) -> list[tuple[int, int, float]]:
    pipes = []
    for number in range(CALLERS):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(port, vfids, seconds, number, writer)
        os.close(writer)
        pipes.append((pid, reader))
    found: list[tuple[int, int, float]] = []
    for pid, reader in pipes:
        with os.fdopen(reader, "rb") as pipe:
            found += _RECORD.iter_unpack(pipe.read())
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("a caller failed: what it measured is missing")
    return found


def _child(*arguments: Any) -> None:  # noqa: ANN401 - those of `_call`
    status = 1
    try:
        _call(*arguments)
        status = 0
    except Exception:  # noqa: BLE001 - every error is printed, and the parent fails
        traceback.print_exc()
    finally:
        os._exit(status)


def _call(port: int, vfids: dict[str, str], seconds: float, seed: int, writer: int) -> None:
    random.seed(seed)
    volumes = list(vfids)
    acts = {volume: _acts(volume, vfid) for volume, vfid in vfids.items()}
    deadline = time.monotonic() + seconds
    caller = _Caller(port)
    with os.fdopen(writer, "wb") as pipe:
        while (began := time.monotonic()) < deadline:
            volume = random.choice(volumes)
            status = caller.ask(*random.choice(acts[volume])())
            pipe.write(_RECORD.pack(volumes.index(volume), status, time.monotonic() - began))


def _report(found: list[tuple[int, int, float]], seconds: float) -> None:
    for index, volume in enumerate((*HEALTHY, HUNG)):
        ours = [(status, took) for number, status, took in found if number == index]
        times = sorted(took * 1000 for _, took in ours)
        codes = sorted({status for status, _ in ours})
        errors = sum(status >= HTTPStatus.INTERNAL_SERVER_ERROR for status, _ in ours)
        print(
            f"  {volume:4} {len(ours) / seconds:7.0f} answers/s  "
            f"p50 {statistics.median(times):6.1f} ms  p99 {times[int(len(times) * 0.99)]:7.1f} ms  "
            f"5xx {errors:5}  codes {codes}",
        )


if __name__ == "__main__":
    main(sys.argv[1:])
