"""One door under gunicorn: configured from our settings alone, run as the configured user.

gunicorn's own messages as ours: one JSON object a line, or coloured text on a terminal.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from api.server import settings as gunicorn_settings
from core.errors import ConfigurationError
from core.process import identity
from core.settings import Settings, load
from core.telemetry import logs

_log = logs.logger(__name__)


class ReloadArbiter(Arbiter):
    """Passes SIGHUP to the processes."""

    def handle_hup(self) -> None:
        """Have every process read the file; those started later read it anyway."""
        self.kill_workers(signal.SIGHUP)


class DoorApplication(BaseApplication):
    """gunicorn around one of our applications, configured from our settings alone."""

    def __init__(self, door: str, settings: Settings) -> None:
        self._door = door
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Take every value from `api.server.settings`: no file, no argument, no environment."""
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
        ReloadArbiter(self).run()


def run(door: str, settings: Settings, counters: Path) -> None:
    """Take the identity that the configuration names, then serve the door until SIGTERM."""
    _take_identity(door, settings, counters)
    DoorApplication(door, settings).run()


def _take_identity(door: str, settings: Settings, counters: Path) -> None:
    """Be who the configuration says before anything is listened to."""
    try:
        whom = identity.configured(settings.storage_proxy)
        if not identity.become(whom, counters):
            _log.warning("door keeps its user", wanted=whom.uid, reason="it is not root")
    except ConfigurationError as error:
        sys.exit(error.detail)
    for path in gunicorn_settings.tls_files(door, settings).values():
        if not os.access(path, os.R_OK):
            sys.exit(f"The user {whom.uid} cannot read {path}: let its group be his, mode 0640.")
    if identity.current().is_root:
        _log.warning("door runs as root", instead="[storage-proxy] user")


class ServerLog(Logger):
    """Hands everything to the standard library's root, which `core.telemetry` has set up."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """As gunicorn's, without handlers of its own."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
