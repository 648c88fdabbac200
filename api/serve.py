"""Runs one door: `python -m api.serve manager|client|internal`."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from api.server import settings as gunicorn_settings
from core.errors import ConfigurationError
from core.process import identity, metrics_files
from core.settings import Settings, load
from core.telemetry import logs

_log = logs.logger(__name__)
_USAGE = f"usage: python -m api.serve {'|'.join(gunicorn_settings.DOORS)}"


class Door(BaseApplication):
    """gunicorn around one of our applications, configured from our settings alone."""

    def __init__(self, door: str, settings: Settings) -> None:
        self._door = door
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Take every value from `gunicorn_settings`; no file, no argument, no GUNICORN_CMD_ARGS."""
        for name, value in gunicorn_settings.for_door(self._door, self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401 - a WSGI application, as gunicorn takes it
        """Build the application; runs in each worker process, after the fork."""
        try:
            settings = load()
        except ConfigurationError:  # spoilt since the start: go on with what the door began with
            settings = self._settings
        return getattr(importlib.import_module("api.app"), f"{self._door}_door")(settings)

    def run(self) -> None:
        """Serve; SIGHUP has the processes read the file again (`api.server.reload`)."""
        from api.server.reload import PassingArbiter  # noqa: PLC0415 - see main

        PassingArbiter(self).run()


def _take_identity(door: str, settings: Settings, counters: Path) -> None:
    """Be who the configuration says before anything is listened to."""
    try:
        whom = identity.wanted(settings.storage_proxy)
        if not identity.become(whom, counters):
            _log.warning("door keeps its user", wanted=whom.uid, reason="it is not root")
    except ConfigurationError as error:
        sys.exit(error.detail)
    for path in gunicorn_settings.tls_files(door, settings).values():
        if not os.access(path, os.R_OK):
            sys.exit(f"The user {whom.uid} cannot read {path}: let its group be his, mode 0640.")
    if identity.current().is_root:
        _log.warning("door runs as root", instead="[storage-proxy] user")


def main() -> None:
    """Serve the door that the first argument names until SIGTERM."""
    if len(sys.argv) != 2 or sys.argv[1] not in gunicorn_settings.DOORS:  # noqa: PLR2004 - the program and its argument
        sys.exit(_USAGE)
    door = sys.argv[1]
    try:
        settings = load()
    except ConfigurationError as error:
        sys.exit(error.detail)
    logs.configure(door, settings.logging.get("level", logs.DEFAULT_LEVEL))
    # Before anything imports prometheus_client, which reads the variable once.
    try:
        counters = metrics_files.start_fresh(settings, door)
    except ConfigurationError as error:
        sys.exit(error.detail)
    _take_identity(door, settings, counters)
    Door(door, settings).run()


if __name__ == "__main__":
    main()
