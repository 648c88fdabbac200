"""The volumes of this node, proved again and again, each in a thread of its own.

A mount that hangs blocks nobody but its own thread: an answer that does not come in time counts as
no proof.
"""

import threading
import time
from collections.abc import Iterable

from backends.registry import Volumes
from core.errors import ConfigurationError, StorageError
from core.jobs import Lane, queue_name
from core.nodes import NodeVolume
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)

#: How often each volume is proved.
PROVE_SECONDS = 10.0
#: An answer that takes longer is none.
ANSWER_SECONDS = 5.0
#: How long a start waits for the first answers.
FIRST_SECONDS = 5.0


class Mounts:
    """What this node can serve, now."""

    def __init__(self, settings: Settings) -> None:
        wanted = settings.vfolder.worker.volumes
        self._volumes = Volumes(settings)
        self._names = [n for n in self._volumes.names() if not wanted or n in wanted]
        self._found: dict[str, NodeVolume] = {}
        self._asked: dict[str, float] = {}
        self._first = {name: threading.Event() for name in self._names}

    def start(self) -> None:
        """Prove every volume once, waiting a bounded time, and go on proving."""
        for name in self._names:
            threading.Thread(target=self._watch, args=(name,), daemon=True).start()
        until = time.monotonic() + FIRST_SECONDS
        for event in self._first.values():
            event.wait(max(0.0, until - time.monotonic()))

    def _watch(self, name: str) -> None:
        while True:
            self._asked[name] = time.monotonic()
            self._found[name] = self._prove(name)
            del self._asked[name]
            self._first[name].set()
            time.sleep(PROVE_SECONDS)

    def _prove(self, name: str) -> NodeVolume:
        try:
            return NodeVolume(proven=True, fsid=self._volumes.get(name).probe())
        except (StorageError, ConfigurationError) as error:
            return NodeVolume(proven=False, reason=error.detail)

    def state(self) -> dict[str, NodeVolume]:
        """Every volume as it is known now."""
        return {name: self._one(name) for name in self._names}

    def _one(self, name: str) -> NodeVolume:
        asked = self._asked.get(name)
        if asked is not None and time.monotonic() - asked > ANSWER_SECONDS:
            return NodeVolume(proven=False, reason=f"Volume {name} does not answer.")
        return self._found.get(name, NodeVolume(proven=False, reason="not proved yet"))


def queues_of(volumes: Iterable[str], node: str) -> list[str]:
    """The queues a node consumes: two lanes per proven volume, and its own."""
    return [*(queue_name(name, lane) for name in volumes for lane in Lane), f"node.{node}"]
