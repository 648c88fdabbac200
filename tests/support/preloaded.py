"""Processes of ours that start without importing anything: forks of one that has imported it all.

A door or a worker spends a second of the processor on imports. The tests start hundreds of them.
So each process of tests has at most one parent per kind of process. The parent imports the code as
the real process does, once, and forks. The child then runs the same module under the same
environment, arguments and output as after an exec: `python -m MODULE …`.

What differs from a real start: `/proc/PID/cmdline` names the parent, and the process is a child of
the parent. Tests of the start itself, of command lines and of the supervisor start real processes.

The parent gets each request as one message with the descriptor of the output (unix(7), SCM_RIGHTS).
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from core.process import end_with_parent, loading, metrics_files, request_end_with_parent
from tests.support.hosts import enter

ROOT = Path(__file__).resolve().parents[2]
#: What each kind of process imports before it serves, or at its first work.
KINDS = {
    "door": (
        "api.server.application",
        "api.server.response_streams",
        "api.server.sendfile_worker",
        "api.app",
        "api.access.links",
        "api.doors.client",
        "api.doors.client.openapi",
        "api.doors.console",
        "api.doors.internal.metrics",
        "api.doors.manager",
        "api.doors.manager.access",
        "api.doors.manager.node_operations",
        "api.doors.manager.node_trees",
        "api.doors.manager.openapi",
        "api.doors.operators",
        "api.doors.people",
        "api.routes.people_parts",
        "celery.app.amqp",
        "celery.app.events",
        "celery.app.routes",
        "celery.canvas",
        "celery.events.dispatcher",
        "celery.events.receiver",
        "celery.fixups.django",
        "celery.loaders.app",
        "kombu.transport.redis",
        "prometheus_flask_exporter.multiprocess",
    ),
    "command": (
        "api.cli.command",
        "api.cli.configuration",
        "api.cli.doctor",
        "api.cli.doctor.examiner",
        "api.cli.jobs",
        "api.cli.operating",
    ),
    "worker": (
        "workers.processes",
        "workers.tasks",
        "workers.worker",
        "celery.apps.worker",
        "celery.bin.celery",
        "celery.bin.worker",
        "celery.concurrency.prefork",
        "celery.events.dispatcher",
        "celery.worker.autoscale",
        "celery.worker.components",
        "celery.worker.consumer",
        "celery.worker.consumer.delayed_delivery",
        "celery.worker.strategy",
        "celery.app.amqp",
        "celery.app.control",
        "celery.app.events",
        "celery.app.log",
        "celery.app.routes",
        "celery.fixups.django",
        "billiard.heap",
        "billiard.popen_fork",
        "billiard.sharedctypes",
        "billiard.synchronize",
        "kombu.matcher",
        "kombu.pidbox",
        "kombu.transport.redis",
    ),
}
#: What only a new program reads (ld.so(8), Python's manual).
_READ_AT_EXEC = ("LD_PRELOAD", "PYTHONPATH", "PYTHONUNBUFFERED")
_AT_OUR_EXEC = {name: os.environ.get(name) for name in _READ_AT_EXEC}
_MESSAGE_BYTES = 1 << 20
_START_SECONDS = 120.0
#: One per kind, started by the first process of that kind.
_parents: dict[str, "_Parent"] = {}


class Process:
    """A started process, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, parent: "_Parent", pid: int, arguments: Sequence[str]) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent
        #: The parent keeps the ended child until it is asked: the number stays its own.
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        if self.returncode is None and self._has_ended(0.0):
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self.returncode is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, where it still runs."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))

    def _end(self) -> None:
        self.returncode = self._parent.ask({"reap": self.pid})
        os.close(self._descriptor)


#: What a test holds: a fork of a parent, or a process that was started on its own.
Running = Process | subprocess.Popen[bytes]


def start(
    kind: str,
    arguments: Sequence[str],
    *,
    output: IO[bytes],
    environment: Mapping[str, str],
    death_signal: int = signal.SIGKILL,
    new_session: bool = False,
    before: Sequence[str] = (),
    errors: IO[bytes] | None = None,
    host: str = "",
) -> Running:
    """Start `python -m ARGUMENTS` in the directory of the project, as a fork of a parent.

    What it prints as errors goes to `output`, too, or to `errors`. A `host` is a network namespace
    of its own (`tests.support.hosts`).
    It gets `death_signal` when this process ends, as `core.process.end_with_parent` does it.
    A command `before` it needs an exec, as do libraries and modules from elsewhere.
    """
    if before or any(environment.get(name) != at for name, at in _AT_OUR_EXEC.items()):
        return subprocess.Popen(
            [*before, sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors or subprocess.STDOUT,
            start_new_session=new_session,
            preexec_fn=end_with_parent(death_signal),  # noqa: PLW1509 - a prctl only
        )
    if kind not in _parents or not _parents[kind].is_ours():
        _parents[kind] = _Parent(kind)
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "death_signal": death_signal,
        "new_session": new_session,
        "host": host,
    }
    pid = _parents[kind].ask(request, [output.fileno(), (errors or output).fileno()])
    return Process(_parents[kind], pid, arguments)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours, `python -m ARGUMENTS`, and return what it printed.

    Raises:
        subprocess.TimeoutExpired: it still runs after `seconds`; it is killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start("command", arguments, output=output, errors=errors, environment=environment)
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
        printed = []
        for file in (output, errors):
            file.seek(0)
            printed.append(file.read().decode())
    return subprocess.CompletedProcess(list(arguments), status, *printed)


class _Parent:
    """The process that has imported the code of one kind."""

    def __init__(self, kind: str) -> None:
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_START_SECONDS)
        self._directory = tempfile.TemporaryDirectory()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.preloaded", kind, str(theirs.fileno())],
                cwd=ROOT,
                env=os.environ | {metrics_files.DIRECTORY_VARIABLE: self._directory.name},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._stop)

    def is_ours(self) -> bool:
        """Whether this process started it, and not one that this process is a fork of."""
        return self._owner == os.getpid()

    def ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
        """Send one request; return the number that answers it."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
        return int(self._socket.recv(_MESSAGE_BYTES))

    def _stop(self) -> None:
        if self.is_ours():
            self._socket.close()
            self._process.wait(_START_SECONDS)
            self._directory.cleanup()


def _serve(kind: str, descriptor: int) -> list[str]:
    """Fork for each request; return the arguments in each child. The parent ends here."""
    with loading():
        for name in KINDS[kind]:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as requests:
        while True:
            message, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_BYTES, 2)
            if not message:
                os._exit(0)  # what it started ends with it
            request = json.loads(message)
            if pid := request.get("reap"):
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            elif (answer := os.fork()) == 0:
                break
            for one in descriptors:
                os.close(one)
            requests.send(str(answer).encode())
    _become(request, descriptors)
    return [str(word) for word in request["arguments"]]


def _become(request: dict[str, Any], printed: Sequence[int]) -> None:
    """Take the output, the environment and the signals that the request names."""
    request_end_with_parent(request["death_signal"])
    if request["new_session"]:
        os.setsid()
    if request["host"]:
        enter(request["host"])
    for standard, descriptor in enumerate(printed, 1):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    if signals := sys.modules.get("workers.run.node_signals"):
        for shared in (signals.DRAIN, signals.RELOAD):  # one page for all forks otherwise
            shared.__init__()


def main() -> NoReturn:
    """Serve one kind; in a child, run the module that the request names, and end as Python does.

    What Python does last is left out: it takes every object apart, and each page of the parent that
    this writes to is copied first. That costs more than all before.
    """
    sys.argv = _serve(sys.argv[1], int(sys.argv[2]))
    status: Any = None
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - it ends, whatever it is
        traceback.print_exc()
        status = 1
    if status is not None and not isinstance(status, int):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as Python ends: pools end, then join
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    main()
