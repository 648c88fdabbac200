"""SIGHUP at a worker: its main process and every forked child take over what the file changed.

A counter in a page of memory that the children share: the main process raises it, a child looks at
it before each job. A run under way keeps what it began with.
"""

import mmap
import struct

from core.errors import ConfigurationError
from core.settings import Settings, reread
from core.telemetry import logs

_log = logs.logger(__name__)
_COUNT = struct.Struct("Q")


class ReloadSignal:
    """How often the node was told to read its file again; made before the children are forked."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def ask(self) -> None:
        """Have every process of the node read the file."""
        self._page[: _COUNT.size] = _COUNT.pack(self.count + 1)

    @property
    def count(self) -> int:
        """How often it was asked."""
        found: int = _COUNT.unpack_from(self._page)[0]
        return found


#: This node's counter.
FILE = ReloadSignal()


def followed(settings: Settings) -> Settings:
    """The settings as the file has them now, as far as they may change; logged, and never wrong."""
    try:
        found, waits = reread(settings)
    except ConfigurationError as error:
        _log.warning("configuration not taken over", reason=error.detail)
        return settings
    logs.set_level(found.logging.get("level", logs.DEFAULT_LEVEL))
    _log.warning("configuration taken over", volumes=list(found.volume), waits=waits)
    return found
