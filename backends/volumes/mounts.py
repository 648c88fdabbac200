"""The volumes of this node, proved again and again, each on a thread of its own.

A mount that hangs blocks only its own thread. An answer that does not come in time is no proof.
"""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from backends.base import Capacity, MountedBackend, capabilities
from backends.volumes.registry import Volumes, raised
from core.cluster import NodeVolume
from core.errors import StorageError
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)

#: The descriptors of this process (proc(5)).
_OPEN = "/proc/self/fd"
_NOT_YET = NodeVolume(proven=False, reason="not proved yet")


@dataclass(frozen=True, slots=True)
class MountState:
    """The result of the last proof of a volume."""

    volume: NodeVolume
    #: When the proof ended (seconds since the epoch); None before the first one ended.
    at: float | None = None
    #: How long it took.
    seconds: float | None = None
    #: False until the first proof ended.
    known: bool = True
    #: What the kernel says of the mount; None where the volume is not proven, or is no mount.
    capacity: Capacity | None = None


_UNKNOWN = MountState(_NOT_YET, known=False)


class Mounts:
    """The volumes that this node can serve now."""

    def __init__(self, settings: Settings) -> None:
        worker = settings.vfolder.worker
        self._settings = settings
        self._pause, self._timeout = worker.prove_seconds, worker.prove_timeout
        self._volumes = Volumes(settings)
        self._names = _chosen(settings, self._volumes.names())
        self._lock = threading.Lock()
        self._started, self._until = False, 0.0
        self._stopped = threading.Event()
        self._proofs: dict[str, MountState] = {}
        #: When the proof that runs now began, by volume.
        self._began: dict[str, float] = {}
        self._first = {name: threading.Event() for name in self._names}

    def start(self, *, wait: bool = True) -> None:
        """Start to prove every volume; `wait` for the first proofs, within the proof's timeout.

        A second call does nothing, nor does one after `stop`.
        """
        with self._lock:
            if self._started or self._stopped.is_set():
                return
            self._started = True
            self._until = time.monotonic() + self._timeout
        for name in self._names:
            self._watch_soon(name)
        if wait:
            self.wait()

    def stop(self) -> None:
        """Prove no volume again: each thread ends after its present proof, which may hang."""
        with self._lock:
            self._stopped.set()

    def wait(self) -> None:
        """Wait for the first proofs; return at once when the timeout after the start is over."""
        for event in list(self._first.values()):
            left = self._until - time.monotonic()
            if left <= 0:  # without this, each listing takes the lock of every event
                return
            event.wait(left)

    def follow(self, settings: Settings) -> None:
        """Prove the volumes that are new in these settings, too."""
        with self._lock:
            self._settings = settings
            self._volumes.follow(settings)
            new = _chosen(settings, [name for name in settings.volume if name not in self._first])
            self._first |= {name: threading.Event() for name in new}
            self._names += new
            if self._started and not self._stopped.is_set():
                for name in new:
                    self._watch_soon(name)

    def _watch_soon(self, name: str) -> None:
        threading.Thread(
            target=self._watch, args=(name,), name=f"prove {name}", daemon=True
        ).start()

    def _watch(self, name: str) -> None:
        while not self._stopped.is_set():
            began = self._began[name] = time.monotonic()
            volume = self._with_capabilities(name, self._prove(name))
            capacity = self._capacity(name) if volume.proven else None
            seconds = time.monotonic() - began
            self._proofs[name] = MountState(volume, time.time(), seconds, capacity=capacity)
            del self._began[name]
            self._first[name].set()
            self._stopped.wait(self._pause)

    def _with_capabilities(self, name: str, volume: NodeVolume) -> NodeVolume:
        """Keep the capabilities of the last good proof while a volume is not proven."""
        before = self._proofs.get(name, _UNKNOWN).volume.capabilities
        return volume if volume.proven else replace(volume, capabilities=before)

    def _prove(self, name: str) -> NodeVolume:
        if mistake := self._volumes.mistake(name):
            return NodeVolume(proven=False, reason=mistake)
        table = self._settings.volume[name]
        try:
            backend = self._volumes.get(name)
            fsid, found = backend.probe(), capabilities(backend)
        except StorageError as error:
            return NodeVolume(proven=False, reason=error.detail)
        except Exception as error:  # noqa: BLE001 - the code of a plugin; the volume is down
            return NodeVolume(
                proven=False, reason=f"The backend {table.backend!r} {raised(error)}."
            )
        return NodeVolume(
            proven=True,
            fsid=fsid,
            backend=table.backend,
            path=str(self._settings.volume_path(table)),
            fsprefix=table.fsprefix,
            capabilities=found,
        )

    def _capacity(self, name: str) -> Capacity | None:
        """Return the capacity of a mount by statvfs(3); of others None: it would cost a request."""
        try:
            mounted = self._volumes.get(name).skill(MountedBackend)
            return mounted.capacity() if mounted is not None else None
        except Exception as error:  # noqa: BLE001 - the code of a plugin; the next proof says why
            _log.info("capacity not known", volume=name, reason=type(error).__name__)
            return None

    def may_serve(self, name: str) -> bool:
        """Return whether this node serves a volume: it is configured and no proof has failed."""
        if name not in self._first:
            return False
        state = self._state(name)
        return state.volume.proven or not state.known

    def volumes(self) -> dict[str, NodeVolume]:
        """Return every volume as its last proof found it, by name."""
        return {name: state.volume for name, state in self.states().items()}

    def states(self) -> dict[str, MountState]:
        """Return the result and the time of every volume's last proof, by name."""
        return {name: self._state(name) for name in self._names}

    def _state(self, name: str) -> MountState:
        began = self._began.get(name)
        proof = self._proofs.get(name, _UNKNOWN)
        if began is not None and time.monotonic() - began > self._timeout:
            hung = NodeVolume(proven=False, reason=f"Volume {name} does not answer.")
            volume = self._with_capabilities(name, hung)
            return MountState(volume, proof.at, time.monotonic() - began)
        return proof


def close_inherited(settings: Settings) -> None:
    """Close the descriptors of volumes that a new process has from its parent.

    The parent proves its volumes on other threads. A fork amid a proof copies the descriptor, and
    the volume could not be unmounted for as long as the new process lives. Call it before the
    process uses a volume.
    """
    tops = [_resolved(settings.volume_path(table)) for table in settings.volume.values()]
    for name in os.listdir(_OPEN):
        with suppress(FileNotFoundError):  # the one of this list itself
            target = Path(os.readlink(f"{_OPEN}/{name}"))
            if any(target.is_relative_to(top) for top in tops):
                os.close(int(name))


def _resolved(path: Path) -> Path:
    """Return a path as the kernel names it; the mount itself is not touched, for it may hang."""
    return Path(os.path.realpath(path.parent), path.name)


def _chosen(settings: Settings, names: list[str]) -> list[str]:
    """Return those of the names that `[vfolder.worker] volumes` chooses; empty chooses all."""
    return [name for name in names if settings.vfolder.worker.serves(name)]
