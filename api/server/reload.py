"""SIGHUP at a door: the configuration is read again in every process, and nothing is cut.

gunicorn's own way starts new processes and ends the old ones, streams too. Here the arbiter passes
the signal on, and each process takes over what may change (`core.settings.changes`) while its
requests go on. A file that is wrong changes nothing and is named in the log.
"""

import signal
import threading
from typing import Any

from gunicorn.arbiter import Arbiter

from api.server.lingering_close import LingeringCloseWorker
from core.errors import ConfigurationError
from core.settings import reread
from core.telemetry import logs

_log = logs.logger(__name__)


class ReloadArbiter(Arbiter):
    """Passes SIGHUP to the processes."""

    def handle_hup(self) -> None:
        """Have every process read the file; those started later read it anyway."""
        self.kill_workers(signal.SIGHUP)


class ReloadWorker(LingeringCloseWorker):
    """Reads the file again at SIGHUP, on a thread of its own."""

    app: Any

    def init_signals(self) -> None:
        """As gunicorn's, and SIGHUP."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self._on_hup)

    def _on_hup(self, *_: object) -> None:
        threading.Thread(target=self._follow, name="reload").start()

    def _follow(self) -> None:
        door = self.app.wsgi().extensions["vfolder.door"]
        try:
            settings, waits = reread(door.settings)
        except ConfigurationError as error:
            _log.warning("configuration not taken over", reason=error.detail)
            return
        logs.set_level(settings.logging.get("level", logs.DEFAULT_LEVEL))
        door.follow(settings)
        _log.warning("configuration taken over", volumes=list(settings.volume), waits=waits)
