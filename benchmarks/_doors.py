"""A client door and an nginx over the same files, on loopback, and what their processes use."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import redis
import requests

from backends.base import Mount
from backends.mounted import PosixBackend
from backends.uploads import staging
from benchmarks._interleave import quiet
from core.access import tickets
from core.names import QuotaScope, VFolderId
from core.uploads import Upload, UploadStore
from deploy.embedded_store import find_server
from tests.support.ports import free_port
from tests.support.preloaded import Running

SECRET = uuid4().hex
NGINX = """
daemon off; worker_processes {processes}; pid {room}/pid; error_log {room}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {room}/body; proxy_temp_path {room}/proxy;
  fastcgi_temp_path {room}/fastcgi; uwsgi_temp_path {room}/uwsgi; scgi_temp_path {room}/scgi;
  keepalive_requests 1000000; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port}; root {root};
    location / {{ sendfile on; {tuned} }}
  }}
}}
"""
TUNED = "tcp_nopush on; tcp_nodelay on; sendfile_max_chunk 4m; open_file_cache max=1000;"


@dataclass
class Server:
    """A running server whose CPU time can be asked."""

    url: str
    process: Running

    def cpu(self) -> float:
        """Seconds on a core of all its threads that live, to the nanosecond where the kernel tells.

        The ticks that `times` counts are too coarse for a fifth of a second.
        """
        total = 0.0
        parent = psutil.Process(self.process.pid)
        for one in [parent, *parent.children(recursive=True)]:
            for path in Path(f"/proc/{one.pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    total += int(path.read_text("ascii").split()[0]) / 1e9
        return total

    def memory(self) -> int:
        parent = psutil.Process(self.process.pid)
        every = [parent, *parent.children(recursive=True)]
        return sum(one.memory_full_info().uss for one in every)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


@dataclass
class Bench:
    """Everything one benchmark needs, below one directory."""

    room: Path
    door: Server
    backend: PosixBackend
    vfolder: VFolderId
    store: UploadStore
    redis_port: int
    nginx: dict[str, Server] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        return self.backend.vfolder_path(self.vfolder)

    def download(self, name: str) -> str:
        ticket = tickets.DownloadTicket(
            volume="local", vfid=str(self.vfolder), relpath=name, exp=tickets.expiry(86400)
        )
        return f"{self.door.url}/download?token={tickets.issue(ticket, SECRET)}"

    def upload(self, name: str, size: int) -> str:
        session = uuid4().hex
        vfolder = str(self.vfolder)
        upload = Upload(
            id=session,
            vfolder=vfolder,
            path=name,
            length=size,
            limit=size,
            volume="local",
            session=session,
        )
        staging.begin(self.backend, self.store, upload)
        ticket = tickets.UploadTicket(
            vfid=vfolder,
            relpath=name,
            size=size,
            exp=tickets.expiry(86400),
            volume="local",
            session=session,
        )
        return f"{self.door.url}/upload?token={tickets.issue(ticket, SECRET)}"


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(requests.RequestException):
            requests.get(url, timeout=1)
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{url} does not answer")
        time.sleep(0.05)


def _start(command: list[str], url: str, room: Path, **environ: str) -> Server:
    with (room / "log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=log, stderr=subprocess.STDOUT
        )
    _wait(url, process)
    return Server(url, process)


def _valkey(room: Path) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(room)]
    process = subprocess.Popen([find_server(), *words], stdout=subprocess.DEVNULL)
    with redis.Redis(port=port) as client:
        for _ in range(200):
            with suppress(redis.RedisError):
                client.ping()
                break
            time.sleep(0.05)
    return process, port


@contextmanager
def running(directory: str | None = None, *, nginx: bool = True) -> Iterator[Bench]:
    """A door (and two nginx, plain and tuned) over a fresh vfolder."""
    room = Path(tempfile.mkdtemp(prefix="bench-doors-", dir=directory))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, room, ignore_errors=True)
        (room / "local").mkdir()
        valkey, redis_port = _valkey(room)
        stack.callback(valkey.wait)
        stack.callback(valkey.terminate)
        port = free_port()
        config = room / "storage-proxy.toml"
        config.write_text(
            f"""
[storage-proxy]
node-id = "bench"
secret = "{SECRET}"
session-expire = "1d"
[api.client]
service-addr = "127.0.0.1:{port}"
[api.manager]
secret = "{SECRET}"
[volume.local]
backend = "vfs"
path = "local"
[vfolder.redis]
url = "redis://127.0.0.1:{redis_port}"
""",
            "ascii",
        )
        serve = [sys.executable, "-m", "api.serve", "client"]
        door = _start(serve, f"http://127.0.0.1:{port}", room, VFOLDER_CONFIG=str(config))
        stack.callback(door.stop)
        backend = PosixBackend(Mount("local", room / "local"))
        scope = QuotaScope.parse(f"user:{uuid4()}")
        backend.create_scope(scope)
        vfolder = VFolderId(scope, uuid4())
        backend.create_vfolder(vfolder)
        client = stack.enter_context(redis.Redis(port=redis_port, db=8, decode_responses=True))
        bench = Bench(room, door, backend, vfolder, UploadStore(client, "bench"), redis_port)
        for name, tuned in {"nginx": "", "nginx tuned": TUNED}.items() if nginx else ():
            bench.nginx[name] = _nginx(room / name.replace(" ", "-"), bench.files, tuned)
            stack.callback(bench.nginx[name].stop)
        yield bench


def _nginx(room: Path, root: Path, tuned: str) -> Server:
    room.mkdir()
    for parent in (root, *root.parents):
        if str(parent).startswith(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o055)
    port = free_port()
    processes = len(os.sched_getaffinity(0))
    text = NGINX.format(room=room, root=root, port=port, processes=processes, tuned=tuned)
    (room / "nginx.conf").write_text(text, "ascii")
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    return _start(
        [program, "-p", str(room), "-c", str(room / "nginx.conf")], f"http://127.0.0.1:{port}", room
    )


@dataclass
class Case:
    """One thing to measure at one server: `run` does it and gives the amount done."""

    name: str
    run: Callable[[], object]
    server: Server | None = None
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)


def measure(cases: list[Case], rounds: int) -> None:
    """Each case once per round, in turning order."""
    for number in range(rounds):
        turn = number % len(cases)
        for case in cases[turn:] + cases[:turn]:
            quiet()
            cpu = case.server.cpu() if case.server else 0.0
            began = time.perf_counter()
            case.run()
            case.walls.append(time.perf_counter() - began)
            case.cpus.append((case.server.cpu() if case.server else 0.0) - cpu)


def show(title: str, cases: list[Case], amount: float, unit: str) -> None:
    """Medians, and medians of the ratios to the first case: speed (higher is faster), CPU."""
    print(f"{title}: {len(cases[0].walls)} rounds")
    print(f"  {'':28} {'rate':>14} {'speed x':>8} {'min-max':>10} {'server cpu':>11} {'cpu x':>6}")
    base = cases[0]
    for case in cases:
        speeds = [b / a for a, b in zip(case.walls, base.walls, strict=True)]
        cpus = [a / max(b, 0.005) for a, b in zip(case.cpus, base.cpus, strict=True)]
        rate = amount / statistics.median(case.walls)
        spread = f"{min(speeds):.2f}-{max(speeds):.2f}"
        print(
            f"  {case.name:28} {rate:9,.0f} {unit}/s {statistics.median(speeds):7.2f} {spread:>10} "
            f"{statistics.median(case.cpus):9.2f} s {statistics.median(cpus):6.2f}",
            flush=True,
        )
