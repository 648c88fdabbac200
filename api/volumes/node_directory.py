"""Where volumes are: the records of the other nodes, read once a second at most.

While the store is away, the last records that were read stay in use, and a door goes on serving its
own volumes.
"""

import threading
import time
from typing import Any

from msgspec import convert
from redis import RedisError

from core.cluster import Node, NodeStore
from core.telemetry import logger

#: Records are read again after this long (seconds).
FRESH_SECONDS = 1.0
_log = logger(__name__)


class NodeDirectory:
    """The live nodes of the cluster, as they were a moment ago."""

    def __init__(self, store: NodeStore, here: str) -> None:
        self._store = store
        #: The id of this node.
        self.here = here
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._nodes: list[Node] = []
        #: Every volume in a record of the last day, of a live or a lost node.
        self._known: frozenset[str] = frozenset()
        self._reachable: frozenset[str] = frozenset()

    def serving(self, volume: str) -> list[Node]:
        """Return the other live nodes whose proof of a volume holds, least loaded first."""
        found = [node for node in self.nodes() if _serves(node, volume)]
        return sorted(found, key=lambda node: (node.load, node.id))

    def is_reachable(self, volume: str) -> bool:
        """Return whether a live node, this one too, serves a volume to workers of other nodes."""
        self.nodes()
        return volume in self._reachable

    def knows(self, volume: str) -> bool:
        """Return whether a record of a live or a lost node names the volume."""
        self.nodes()
        return volume in self._known

    def volumes(self) -> dict[str, dict[str, Any]]:
        """Return the volumes that other nodes serve now, by name, each from one node's record."""
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
        """Return the other live nodes; the list is a new one whenever it was read again."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._read()
            return self._nodes

    def _read(self) -> None:
        try:
            records = self._store.all()
        except RedisError as error:
            _log.warning("nodes not read", reason=type(error).__name__)
        else:
            self._known = frozenset(name for record in records for name in record["volumes"])
            live = [convert(record, Node) for record in records if record["alive"]]
            self._nodes = [node for node in live if node.id != self.here]
            doors = [node for node in live if node.answers and node.manager_url]
            self._reachable = frozenset(v for n in doors for v in n.volumes if _serves(n, v))
        self._read_at = time.monotonic()


def _serves(node: Node, volume: str) -> bool:
    found = node.volumes.get(volume)
    return found is not None and found.proven
