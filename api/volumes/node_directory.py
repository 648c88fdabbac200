"""Where volumes are: what the nodes of the cluster tell of themselves, read once a second at most.

The store may be away; then what was last known is used, and a door goes on serving its own volumes.
"""

import threading
import time
from typing import Any

from msgspec import convert
from redis import RedisError

from core.cluster import Node, NodeStore
from core.telemetry import logger

#: What was read is good for this long (seconds).
FRESH_SECONDS = 1.0
_log = logger(__name__)


class NodeDirectory:
    """The nodes that live, as they were a moment ago."""

    def __init__(self, book: NodeStore, here: str) -> None:
        self._book = book
        #: The id of this node.
        self.here = here
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._nodes: list[Node] = []
        #: Every volume that was ever told of by a node not yet forgotten.
        self._told: frozenset[str] = frozenset()

    def serving(self, volume: str) -> list[Node]:
        """The other nodes that live and proved a volume, least loaded first."""
        found = [node for node in self.nodes() if _serves(node, volume)]
        return sorted(found, key=lambda node: (node.load, node.id))

    def knows(self, volume: str) -> bool:
        """Whether some node, alive or lost, told of the volume."""
        self.nodes()
        return volume in self._told

    def volumes(self) -> dict[str, dict[str, Any]]:
        """What other nodes serve now: each volume as one of them tells it, by name."""
        found: dict[str, dict[str, Any]] = {}
        for node in self.nodes():
            for name, volume in node.volumes.items():
                if volume.proven and volume.path and name not in found:
                    found[name] = {
                        "name": name,
                        "backend": volume.backend,
                        "path": volume.path,
                        "fsprefix": volume.fsprefix,
                        "capabilities": volume.capabilities,
                    }
        return found

    def nodes(self) -> list[Node]:
        """The other nodes that live."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._read()
            return self._nodes

    def _read(self) -> None:
        try:
            records = self._book.all()
        except RedisError as error:
            _log.warning("nodes not read", reason=type(error).__name__)
        else:
            self._told = frozenset(name for record in records for name in record["volumes"])
            others = [r for r in records if r["alive"] and r["id"] != self.here]
            self._nodes = [convert(record, Node) for record in others]
        self._read_at = time.monotonic()


def _serves(node: Node, volume: str) -> bool:
    found = node.volumes.get(volume)
    return found is not None and found.proven
