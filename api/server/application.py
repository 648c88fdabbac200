"""One door under gunicorn: its settings, its identity, its processes, its log.

gunicorn's own way at SIGHUP starts new processes and ends the old ones, streams too. Here the
arbiter passes the signal on to the processes, and each of them takes over what may change
(`api.server.worker`).
"""

import importlib
import signal
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from api.server import settings as gunicorn_settings
from backends.volumes.artifacts import ArtifactStorages
from core.access import audit
from core.errors import ConfigurationError
from core.process import check_certificate, end_unstarted, identity, loading
from core.settings import Settings, load
from core.telemetry import logs

_log = logs.logger(__name__)


class ReloadArbiter(Arbiter):
    """The main process of a door: it passes SIGHUP to the worker processes."""

    def handle_hup(self) -> None:
        """Let every worker process read the file; later ones read it when they start."""
        self.kill_workers(signal.SIGHUP)

    def spawn_worker(self) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Fork a worker process that hears the signals that end it from its first moment.

        A child of gunicorn has the arbiter's handlers until it installs its own: a signal of that
        time goes to a copy of the arbiter's queue that no code reads, and the process serves until
        its grace is over. So these signals wait: here until the fork is done, in the child until
        the hook `post_fork` of `api.server.settings`.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, gunicorn_settings.ENDING_SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, gunicorn_settings.ENDING_SIGNALS)


class ServerLog(Logger):
    """gunicorn's own messages, passed to the root logger that `core.telemetry` has set up.

    So they are one JSON object a line, or coloured text on a terminal, as ours.
    """

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Set up the log as gunicorn does, then remove its own handlers."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class DoorApplication(BaseApplication):
    """gunicorn around one of our applications, configured from our settings alone."""

    def __init__(self, door: str, settings: Settings) -> None:
        self._door = door
        #: What the door started with.
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Take every value from `api.server.settings`: no file, no argument, no environment."""
        for name, value in gunicorn_settings.for_door(self._door, self.settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401 - a WSGI application, as gunicorn takes it
        """Return the application; gunicorn calls this in each worker process, after the fork."""
        try:
            settings = load()
        except ConfigurationError:  # the file became wrong: use what the door started with
            settings = self.settings
        with loading():
            app = getattr(importlib.import_module("api.app"), f"{self._door}_door")(settings)
        door = app.extensions["vfolder.door"]
        if self._door == "client":
            door.stream_budgets.start()
        else:  # each process is ready soon after its start, not only after its first probe
            door.health.start()
        return app

    def run(self) -> None:
        """Serve until SIGTERM."""
        ReloadArbiter(self).run()


def run(door: str, settings: Settings, counters: Path) -> None:
    """Take the identity that the configuration names, then serve the door until SIGTERM."""
    if door == "manager":
        ArtifactStorages(settings).begin(_owner(settings))
    _take_identity(door, settings, counters)
    with loading():  # once, and not in each process
        importlib.import_module("api.app").load_code(door, settings)
    DoorApplication(door, settings).run()


def _owner(settings: Settings) -> tuple[int, int] | None:
    """Return who owns the directories that the start makes; None for the user of the process."""
    if settings.storage_proxy.user is None:
        return None
    try:
        user = identity.configured(settings.storage_proxy)
    except ConfigurationError:  # the next step ends the start with it
        return None
    return user.uid, user.gid


def _take_identity(door: str, settings: Settings, counters: Path) -> None:
    """Become the configured user before the door listens; end the process where it cannot."""
    try:
        user = identity.configured(settings.storage_proxy)
        if settings.vfolder.access is not None:
            identity.give(user, audit.make_directory(settings.state_dir))
        if not identity.become(user, counters):
            _log.warning("door keeps its user", wanted=user.uid, reason="it is not root")
        check_certificate(door, settings)
        identity.check_code()
    except ConfigurationError as error:
        end_unstarted(error)
    if identity.current().is_root:
        _log.warning("door runs as root", instead="[storage-proxy] user")
