"""pytest-celery without Docker: its nodes and clusters around processes of this machine.

The library's `Container` touches few members of the Docker SDK's object; `LocalProcess` has exactly
those, over a process that dies with the test run.
"""

import os
import signal
import uuid
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestSetup, CeleryWorkerContainer, RedisContainer

import celeryconfig
from core.redis import Database
from core.settings import CONFIG_VARIABLE, Settings
from tests.support import preloaded
from tests.support.valkey import Valkey

STOP_SECONDS = 120.0


class LocalProcess:
    """A process with the face of a container."""

    def __init__(self, name: str, log: Path) -> None:
        self.id = uuid.uuid4().hex
        self.name = name
        self.log = log
        #: What the library reads: no networks and no ports means nothing to wait for.
        self.attrs: dict[str, Any] = {
            "NetworkSettings": {"Networks": {}, "Ports": {}},
            "HostConfig": {"PortBindings": None},
            "Config": {"Hostname": "localhost"},
        }

    @property
    def process(self) -> preloaded.Running | None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    @property
    def status(self) -> str:
        process = self.process
        return "running" if process is not None and process.poll() is None else "exited"

    def reload(self) -> None:
        """Nothing is cached."""

    def logs(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""

    def kill(self, number: int | str | None = None) -> None:
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(getattr(signal, str(number or "SIGKILL")))
        process.wait(timeout=STOP_SECONDS)

    def restart(self, timeout: float = STOP_SECONDS) -> None:  # noqa: ARG002 - the SDK's signature
        self.kill("SIGTERM")
        self.log.write_bytes(b"")
        self.start()


class StoreProcess(LocalProcess):
    """The project's store."""

    def __init__(self, server: Valkey) -> None:
        super().__init__("store", server.directory / "log")
        self.server = server

    @property
    def process(self) -> preloaded.Running | None:
        return self.server.process

    def start(self) -> None:
        self.server.process = None
        self.server.start()


class WorkerProcess(LocalProcess):
    """The project's own worker: `python -m workers.serve worker`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("worker", settings.directory / "worker.log")
        self._settings = settings
        self._process: preloaded.Running | None = None

    @property
    def process(self) -> preloaded.Running | None:
        return self._process

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = preloaded.start(
                "worker",
                ["workers.serve", "worker"],
                output=log,
                environment=os.environ | {CONFIG_VARIABLE: self._settings.origin},
            )


class LocalStore(RedisContainer):
    """The store as broker or as result store: the database says which."""

    database = Database.BROKER

    @property
    def host_url(self) -> str:
        return f"{self._container.server.url}/{int(self.database)}"

    @property
    def url(self) -> str:
        return self.host_url

    @property
    def port(self) -> int:
        return int(self._container.server.port)

    @property
    def vhost(self) -> str:
        return str(int(self.database))

    @property
    def ready_prompt(self) -> None:
        return None


class LocalResults(LocalStore):
    """The same store, the database of results."""

    database = Database.RESULTS


class LocalWorker(CeleryWorkerContainer):
    """Our worker, which configures itself; ready when it says so."""


class Setup(CeleryTestSetup):
    """The sender's side speaks as our doors do: same transport options, no secrets."""

    def teardown(self) -> None:
        self.app.pool.force_close_all()
        self.app.backend.result_consumer.stop()
        self.app.backend.client.close()
        self.app.close()

    @classmethod
    def update_app_config(cls, app: Any) -> None:
        app.conf.update(
            {key: getattr(celeryconfig, key) for key in vars(celeryconfig) if key[0] != "_"}
        )
