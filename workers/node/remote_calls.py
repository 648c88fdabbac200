"""Answers calls to this node's volumes that the doors of other nodes ask (`core.cluster.calls`).

Threads of the worker's main process, some for each volume: a call waits behind no job, and a volume
that hangs keeps only its own threads; while all of them are stuck, what is asked is left in the
lane for another node of the volume. Nothing is taken for a volume whose proof failed, or while the
node drains.
"""

import threading

import msgpack
import redis

from backends.volumes import Mounts, Volumes, remote
from core.cluster import Call, Calls
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import bind, logger
from core.uploads import UploadStore
from workers.run import DRAIN

#: Calls to one volume that are under way at once on this node.
THREADS_PER_VOLUME = 4
#: How often a volume that is not proven, or a store that is away, is looked at again (seconds).
LOOK_SECONDS = 1.0
_log = logger(__name__)


class Answering:
    """The threads; made by the worker's main process."""

    def __init__(self, settings: Settings, mounts: Mounts) -> None:
        self._mounts = mounts
        self._volumes = Volumes(settings)
        self._calls = Calls(connect(settings, Database.JOBS, text=False))
        self._uploads = UploadStore(
            connect(settings, Database.UPLOADS), settings.storage_proxy.node_id
        )
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._known: set[str] = set()

    def follow(self, settings: Settings) -> None:
        """Start the threads of volumes that are new."""
        self._volumes.follow(settings)
        for name in set(self._mounts.state()) - self._known:
            self._known.add(name)
            for number in range(THREADS_PER_VOLUME):
                thread = threading.Thread(
                    target=self._run, args=(name,), name=f"calls {name} {number}", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """Take nothing any more; calls under way are left to end by themselves."""
        self._stop.set()

    def _run(self, volume: str) -> None:
        while not self._stop.is_set():
            if DRAIN.is_active or not self._mounts.may_serve(volume):
                self._stop.wait(LOOK_SECONDS)
                continue
            try:
                call = self._calls.take([volume])
                if call is not None:
                    self._answer(call)
            except redis.RedisError as error:
                _log.warning("calls not taken", volume=volume, reason=type(error).__name__)
                self._stop.wait(LOOK_SECONDS)

    def _answer(self, call: Call) -> None:
        try:
            want = remote.wanted(call.body)
        except (ValueError, msgpack.UnpackException) as error:
            _log.warning("call not understood", reason=type(error).__name__)
            return
        with bind(volume=want.volume, operation=want.act.rpartition(".")[2]):
            answer = remote.do(want, self._volumes.get, self._uploads)
            self._calls.answer(call.id, answer)
            _log.info("call answered")
