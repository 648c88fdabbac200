"""Signals of a worker's main process that all its forked children see: drain, and reload.

Both lie in memory pages that the children share, mapped before the fork. Setting a flag in the main
process is enough, whatever state the store or the broker is in.
"""

import mmap
import struct

from core.errors import ConfigurationError
from core.settings import Settings, reload
from core.telemetry import logs

_log = logs.logger(__name__)
_GOING_DOWN, _ON_REQUEST = 0, 1
_COUNT = struct.Struct("Q")


class Drain:
    """Two flags: the node goes down, and an operator requested that it drains."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def begin(self) -> None:
        """Start no job any more; release each running job at its next check. The node goes down."""
        self._page[_GOING_DOWN] = 1

    def set_requested(self, *, requested: bool) -> None:
        """Drain because an operator requested it, or stop draining for that reason."""
        self._page[_ON_REQUEST] = requested

    @property
    def is_active(self) -> bool:
        """Whether the node drains, for either reason."""
        return bool(self._page[_GOING_DOWN] or self._page[_ON_REQUEST])


class ReloadSignal:
    """How often SIGHUP asked this node to read its configuration file again.

    The main process raises the counter. A child compares it before each job; a run in progress
    keeps the settings it started with.
    """

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def request(self) -> None:
        """Have every process of the node read the file again."""
        self._page[: _COUNT.size] = _COUNT.pack(self.count + 1)

    @property
    def count(self) -> int:
        """The number of requests so far."""
        count: int = _COUNT.unpack_from(self._page)[0]
        return count


#: This node's signals. The main process makes them when it imports this module, before it forks.
DRAIN = Drain()
RELOAD = ReloadSignal()


def reloaded(settings: Settings) -> Settings:
    """Return the settings with every change of the file that a running process can apply.

    A file with an error changes nothing and is logged.
    """
    try:
        current, waits = reload(settings)
    except ConfigurationError as error:
        _log.warning("configuration not taken over", reason=error.detail)
        return settings
    logs.set_level(current.log_level)
    _log.warning("configuration taken over", volumes=list(current.volume), waits=waits)
    return current
