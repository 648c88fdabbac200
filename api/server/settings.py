"""How gunicorn runs each door: every value with its reason.

The one process of the internal door also registers this node for service discovery.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from api.server.heads import HEAD_MAX_BYTES, LINE_MAX_BYTES
from core.cluster import RENEW_SECONDS, Discovery
from core.process import certificate_files, request_end_with_parent
from core.settings import Address, Settings

#: More processes than this per door do not help a node that also runs workers.
PROCESSES_MAX = 4
#: The internal door answers probes and scrapes: few and short requests.
INTERNAL_THREADS = 8
#: Each upload holds a thread of the client door, however slow it is; waiting threads cost nothing.
UPLOAD_THREADS = 512
#: Signals that end a process of a door. `api.server.application` holds them back during the fork.
ENDING_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_DOOR_ADDRESS: dict[str, Callable[[Settings], Address]] = {
    "manager": lambda settings: settings.api.manager.address,
    "client": lambda settings: settings.api.client.address,
    "internal": lambda settings: settings.api.manager.internal_address,
}
#: The app logs requests with their ids; gunicorn logs only what went wrong.
_LOG = {
    "accesslog": None,
    "errorlog": "-",
    "loglevel": "warning",
    "logger_class": "api.server.application.ServerLog",
}
#: X-Forwarded-* is read in one place, the app, and only from trusted proxies. In gunicorn no header
#: sets the scheme or a variable, from any address. With "*" gunicorn does not parse the address of
#: the caller at each request (10 µs).
_FORWARDED: dict[str, Any] = {
    "forwarded_allow_ips": "*",
    "secure_scheme_headers": {},
    "forwarder_headers": "",
}
_WORKER = {"client": "api.server.sendfile_worker.SendfileWorker"}


class DiscoveryRegistration:
    """The thread that keeps this node registered for service discovery."""

    def __init__(self, settings: Settings) -> None:
        self._discovery = Discovery(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Register the node and renew its registration from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Deregister the node; return when that is done, or failed."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._discovery.register()
            if self._stop.wait(RENEW_SECONDS):
                break
        self._discovery.deregister()


def for_door(door: str, settings: Settings) -> dict[str, Any]:
    """Return the settings of one door by gunicorn's names."""
    internal = door == "internal"
    doors = settings.vfolder.doors
    return {
        "bind": str(_DOOR_ADDRESS[door](settings)),
        # The identity that this process has by now. gunicorn's default is the identity at import,
        # which may have been root.
        "user": os.geteuid(),
        "group": os.getegid(),
        "proc_name": f"vfolder-{door}",
        # One thread per request and kernel sendfile for bodies. gevent has no real sendfile; the
        # sync worker kills every download that outlasts `timeout`.
        # The client door's downloads hold no thread either (api/server/sendfile_worker.py).
        "worker_class": _WORKER.get(door, "api.server.worker.DoorWorker"),
        "workers": 1 if internal else doors.processes or _processors(),
        # Each slow request holds a thread; the memory of idle threads is not worth counting.
        "threads": _threads(door, settings),
        # Connections without a thread wait in the poller, not in the kernel's backlog. The worker
        # lowers this where it may not have as many descriptors.
        "worker_connections": 4000,
        # The kernel caps it at net.core.somaxconn (4096).
        "backlog": 4096,
        # The main thread's heartbeat, not the length of a request: 120 s without one is a hang.
        "timeout": 120,
        # Managers and browsers reuse connections. Proxies in front often keep 60 s; load balancers
        # retry on a closed one.
        "keepalive": 15,
        # Streams get this long after SIGTERM.
        "graceful_timeout": max(1, round(doors.grace_seconds)),
        # `sendfile` stays unset: gunicorn takes any value, even true, as "do not use it".
        # Heartbeat files in memory: on a slow disk fchmod(2) blocks the worker.
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108 - not ours to make safe: gunicorn uses mkstemp
        # gunicorn's parser in C, where it is installed, takes bare LF and folded lines. This one
        # refuses them.
        "http_parser": "python",
        # Tickets travel in the query string; this is the most that the parser takes.
        "limit_request_line": LINE_MAX_BYTES,
        # `Upload-Concat` names every part by its URL with its ticket: 64 KiB are about 100 parts.
        # A complete head may have no more.
        "limit_request_field_size": HEAD_MAX_BYTES,
        **_FORWARDED,
        # gunicorn makes one socket per user in the home directory: several doors would share it.
        "control_socket_disable": True,
        **_LOG,
        "post_fork": _post_fork,
        "child_exit": _child_exit,
        **_tls_files(door, settings),
        **(_discovery_hooks(settings) if internal else {}),
    }


def _discovery_hooks(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's hooks that register the node while the one worker process lives."""
    started: list[DiscoveryRegistration] = []

    def start(_worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        started.append(DiscoveryRegistration(settings))
        started[-1].start()

    def stop(_arbiter: Any, _worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        for registration in started:
            registration.stop()

    return {"post_worker_init": start, "worker_exit": stop}


def _threads(door: str, settings: Settings) -> int:
    if door == "internal":
        return INTERNAL_THREADS
    least = UPLOAD_THREADS if door == "client" else 1
    return max(least, settings.vfolder.doors.threads)


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX)


def _tls_files(door: str, settings: Settings) -> dict[str, str]:
    """Return the certificate and key files of a door by gunicorn's names.

    gunicorn reads them at each new connection.
    """
    names = {"ssl-cert": "certfile", "ssl-privkey": "keyfile"}
    return {names[key]: str(path) for key, path in certificate_files(door, settings).items()}


def _post_fork(_arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
    """Let the new process end with its parent, and at each signal that ends it.

    It runs before any thread of the process starts. gunicorn installs its own handlers later.
    """

    def end(*_: object) -> None:
        worker.alive = False

    signal.signal(signal.SIGTERM, end)
    for number in ENDING_SIGNALS - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    request_end_with_parent()


def _child_exit(_arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
    from prometheus_flask_exporter import multiprocess  # noqa: PLC0415 - see serve.main

    multiprocess.GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
