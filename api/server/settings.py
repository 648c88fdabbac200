"""How gunicorn runs each door, every value with its reason.

Announces this node while its internal door is open: a thread of that door's one process.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

from core.cluster import RENEW_SECONDS, Discovery
from core.process import request_end_with_parent
from core.settings import Address, Settings

#: More processes than this per door do not help a node that also runs workers.
PROCESSES_MAX = 4
#: The internal door answers probes and scrapes, seldom and shortly.
INTERNAL_THREADS = 8
#: The client door holds a thread for each upload, however slow; those that wait cost nothing.
UPLOAD_THREADS = 512
_DOOR_ADDRESS: dict[str, Callable[[Settings], Address]] = {
    "manager": lambda settings: settings.api.manager.address,
    "client": lambda settings: settings.api.client.address,
    "internal": lambda settings: settings.api.manager.internal_address,
}
_WORKER = {"client": "api.server.sendfile_worker.SendfileWorker"}


def for_door(door: str, settings: Settings) -> dict[str, Any]:
    """The settings of one door, as gunicorn names them."""
    internal = door == "internal"
    doors = settings.vfolder.doors
    return {
        "bind": str(_DOOR_ADDRESS[door](settings)),
        # Whoever we are by now; its own default is who imported it, which may have been root.
        "user": os.geteuid(),
        "group": os.getegid(),
        "proc_name": f"vfolder-{door}",
        # One thread per request and kernel sendfile for bodies; gevent has no real sendfile, the
        # sync worker kills every download that outlasts `timeout`.
        # The client door's downloads hold no thread either (api/server/sendfile_worker.py).
        "worker_class": _WORKER.get(door, "api.server.worker.DoorWorker"),
        "workers": 1 if internal else doors.processes or _processors(),
        # A thread is held by each slow download: idle ones cost no memory worth counting.
        "threads": _threads(door, settings),
        # Connections beyond the threads wait in the poller, not in the kernel's backlog.
        "worker_connections": 4000,
        "backlog": 1024,
        # The main thread's heartbeat, not the length of a request: 120 s without one is a hang.
        "timeout": 120,
        # Managers and browsers reuse connections; proxies in front often keep 60 s, load balancers
        # retry on a closed one.
        "keepalive": 15,
        # Streams get this long after SIGTERM.
        "graceful_timeout": max(1, round(doors.grace_seconds)),
        # `sendfile` stays unset: gunicorn reads any value at all, true as well, as «do not».
        # Heartbeat files in memory: on a slow disk fchmod(2) blocks the worker.
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108 - not ours to make safe: gunicorn uses mkstemp
        # The one in C, where it is there, takes bare LF and folded lines, which this one refuses.
        "http_parser": "python",
        # Tickets travel in the query string; the largest the parser takes.
        "limit_request_line": 8190,
        # `Upload-Concat` names every part by its URL, ticket included: 64 KiB are about 100 parts.
        "limit_request_field_size": 64 * 1024,
        # X-Forwarded-* is read in one place, the app, and only from trusted hops.
        "forwarded_allow_ips": "",
        # One socket per user in the home directory: several doors would fight for it.
        "control_socket_disable": True,
        # The app logs requests with their ids; gunicorn says only what went wrong.
        "accesslog": None,
        "errorlog": "-",
        "loglevel": "warning",
        "logger_class": "api.server.application.ServerLog",
        "post_fork": _post_fork,
        "child_exit": _child_exit,
        **tls_files(door, settings),
        **(_announcing(settings) if internal else {}),
    }


def _announcing(settings: Settings) -> dict[str, Any]:
    """Announce the node while the one process of the internal door lives."""
    found: list[Announcer] = []

    def begin(_worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        found.append(Announcer(settings))
        found[-1].start()

    def end(_arbiter: Any, _worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        for announcer in found:
            announcer.stop()

    return {"post_worker_init": begin, "worker_exit": end}


def _threads(door: str, settings: Settings) -> int:
    if door == "internal":
        return INTERNAL_THREADS
    least = UPLOAD_THREADS if door == "client" else 1
    return max(least, settings.vfolder.doors.threads)


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX)


def tls_files(door: str, settings: Settings) -> dict[str, str]:
    """The certificate and key of a door, as gunicorn names them; read at each new connection."""
    table = settings.api.client if door == "client" else settings.api.manager
    if door == "internal" or not table.ssl_enabled:
        return {}
    directory = settings.directory
    files = {"certfile": table.ssl_cert, "keyfile": table.ssl_privkey}
    return {name: str(directory / path) for name, path in files.items() if path}


def _post_fork(_arbiter: Any, _worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
    request_end_with_parent()


def _child_exit(_arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
    from prometheus_flask_exporter import multiprocess  # noqa: PLC0415 - see serve.main

    multiprocess.GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)


class Announcer:
    """The thread."""

    def __init__(self, settings: Settings) -> None:
        self._discovery = Discovery(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def stop(self) -> None:
        """Take the announcement back; returns when that is done or was tried."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._discovery.register()
            if self._stop.wait(RENEW_SECONDS):
                break
        self._discovery.deregister()
