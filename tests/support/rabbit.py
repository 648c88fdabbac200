"""A real RabbitMQ for tests: Debian's server as a plain process on ports of its own."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.process import end_with_parent
from tests.support.node import wait_for
from tests.support.ports import free_port

#: The wrapper in sbin requires its own user; this is the program behind it.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = ("/usr/lib/rabbitmq/bin/rabbitmqctl", "-q")
START_SECONDS = 180.0
#: The first bytes of a client (AMQP 0-9-1), and the first byte of the server's answer.
GREETING, METHOD_FRAME = b"AMQP\0\0\x09\x01", b"\x01"


class Rabbit:
    """One server, and the small daemon by which Erlang nodes find each other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self._epmd = free_port(), free_port()
        self._node = f"test{self.port}@localhost"
        self._log = directory / "log"
        self._environment = {
            "HOME": str(directory),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory),
            "RABBITMQ_LOG_BASE": str(directory),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        with self._log.open("wb") as log:
            # In the foreground: otherwise it may find a server of this name through another daemon.
            self._finder = subprocess.Popen(
                [shutil.which("epmd") or "epmd", "-port", str(self._epmd)],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
            )
            self._server = subprocess.Popen(
                [SERVER],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
            )
        wait_for(self._answers, START_SECONDS, self._log.read_text)

    @property
    def url(self) -> str:
        """The URL for `[vfolder.jobs] broker`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def _answers(self) -> bool:
        assert self._server.poll() is None, self._log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as asking:
                asking.sendall(GREETING)
                return asking.recv(1) == METHOD_FRAME
        except OSError:
            return False

    def queues(self) -> dict[str, str]:
        """The type of every queue by its name."""
        listed = subprocess.run(
            [*CONTROL, "-n", self._node, "list_queues", "name", "type", "--no-table-headers"],
            env=os.environ | self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(line.split("\t") for line in listed.stdout.splitlines() if "\t" in line)

    def close(self) -> None:
        """End it like a crash: its data is not needed."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(60)
        self._finder.kill()
        self._finder.wait(60)


@contextmanager
def running_rabbit(directory: Path) -> Iterator[Rabbit]:
    """A started server, until the end of the block."""
    server = Rabbit(directory)
    try:
        yield server
    finally:
        server.close()
