"""The volumes of this node, proved again and again, each in a thread of its own.

A mount that hangs blocks nobody but its own thread: an answer that does not come in time counts as
no proof.
"""

import threading
import time
from dataclasses import dataclass

from msgspec.structs import replace

from backends.base import capabilities
from backends.volumes.registry import Volumes
from core.cluster import NodeVolume
from core.errors import ConfigurationError, StorageError
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)

_NOT_YET = NodeVolume(proven=False, reason="not proved yet")


@dataclass(frozen=True, slots=True)
class MountState:
    """What the last look at a volume found."""

    volume: NodeVolume
    #: When it ended (seconds of the epoch); None before the first has ended.
    at: float | None = None
    #: How long it took.
    seconds: float | None = None
    #: False until there is anything to say.
    known: bool = True


_UNSEEN = MountState(_NOT_YET, known=False)


class Mounts:
    """What this node can serve, now."""

    def __init__(self, settings: Settings) -> None:
        own = settings.vfolder.worker
        self._settings = settings
        self._pause, self._patience = own.prove_seconds, own.prove_timeout
        wanted = own.volumes
        self._volumes = Volumes(settings)
        self._names = [n for n in self._volumes.names() if not wanted or n in wanted]
        self._lock = threading.Lock()
        self._started, self._until = False, 0.0
        self._found: dict[str, MountState] = {}
        self._asked: dict[str, float] = {}
        self._first = {name: threading.Event() for name in self._names}

    def start(self, *, wait: bool = True) -> None:
        """Prove every volume and go on proving; `wait` a bounded time for the first answers.

        Again is nothing.
        """
        with self._lock:
            if self._started:
                return
            self._started = True
            self._until = time.monotonic() + self._patience
        for name in self._names:
            threading.Thread(target=self._watch, args=(name,), daemon=True).start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait for the first answers, as long as the start may take; later not at all."""
        for event in list(self._first.values()):
            event.wait(max(0.0, self._until - time.monotonic()))

    def follow(self, settings: Settings) -> None:
        """Prove the volumes that are new in these settings, too."""
        with self._lock:
            self._settings = settings
            self._volumes.follow(settings)
            wanted = settings.vfolder.worker.volumes
            new = [n for n in settings.volume if n not in self._first]
            new = [n for n in new if not wanted or n in wanted]
            self._first |= {name: threading.Event() for name in new}
            self._names += new
            if self._started:
                for name in new:
                    threading.Thread(target=self._watch, args=(name,), daemon=True).start()

    def _watch(self, name: str) -> None:
        while True:
            began = self._asked[name] = time.monotonic()
            volume = self._with_skills(name, self._prove(name))
            self._found[name] = MountState(volume, time.time(), time.monotonic() - began)
            del self._asked[name]
            self._first[name].set()
            time.sleep(self._pause)

    def _with_skills(self, name: str, volume: NodeVolume) -> NodeVolume:
        """What a volume could when it was last proved, it can again."""
        before = self._found.get(name, _UNSEEN).volume.capabilities
        return volume if volume.proven else replace(volume, capabilities=before)

    def _prove(self, name: str) -> NodeVolume:
        try:
            backend = self._volumes.get(name)
            fsid, skills = backend.probe(), capabilities(backend)
        except (StorageError, ConfigurationError) as error:
            return NodeVolume(proven=False, reason=error.detail)
        table = self._settings.volume[name]
        return NodeVolume(
            proven=True,
            fsid=fsid,
            backend=table.backend,
            path=str(self._settings.volume_path(table)),
            fsprefix=table.fsprefix,
            capabilities=skills,
        )

    def may_serve(self, name: str) -> bool:
        """Whether this node serves a volume, as far as it is known: not when its proof failed."""
        if name not in self._first:
            return False
        look = self._look(name)
        return look.volume.proven or not look.known

    def state(self) -> dict[str, NodeVolume]:
        """Every volume as it is known now."""
        return {name: look.volume for name, look in self.looks().items()}

    def looks(self) -> dict[str, MountState]:
        """Every volume as it is known now, and since when."""
        return {name: self._look(name) for name in self._names}

    def _look(self, name: str) -> MountState:
        asked = self._asked.get(name)
        found = self._found.get(name, _UNSEEN)
        if asked is not None and time.monotonic() - asked > self._patience:
            hung = NodeVolume(proven=False, reason=f"Volume {name} does not answer.")
            return MountState(self._with_skills(name, hung), found.at, time.monotonic() - asked)
        return found
