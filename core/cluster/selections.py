"""The paths of tickets that would be too long for a URL.

    vfolder:selection:<SHA-256 of the paths>   the paths, deflated; expires with the last ticket

It is in the database of uploads. A ticket has the key's last part as a claim, so the same paths
are kept once. When the server is away, such a ticket can be neither issued nor used (503).
"""

import hashlib
import zlib
from typing import cast

from core.redis import Database, connect
from core.settings import Settings

_PREFIX = "vfolder:selection:"
#: No path has this byte.
_SEPARATOR = b"\0"


class SelectionStore:
    """The selections as one process sees them; made after the fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.UPLOADS, text=False)

    def keep(self, paths: list[str], seconds: int) -> str:
        """Keep the paths for so long at least; return the name of the selection."""
        content = _SEPARATOR.join(path.encode("utf-8", "surrogateescape") for path in paths)
        name = hashlib.sha256(content).hexdigest()
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_PREFIX + name, zlib.compress(content), ex=seconds, nx=True)
            pipe.expire(_PREFIX + name, seconds, gt=True)
            pipe.execute()
        return name

    def read(self, name: str) -> list[str] | None:
        """Return the paths; None when they are no longer kept."""
        kept = cast("bytes | None", self._redis.get(_PREFIX + name))
        if kept is None:
            return None
        paths = zlib.decompress(kept).split(_SEPARATOR)
        return [path.decode("utf-8", "surrogateescape") for path in paths]
