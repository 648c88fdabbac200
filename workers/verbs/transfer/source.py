"""The source of a transfer: here, or on another node that serves its volume."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from backends.fs import clock, layout
from backends.transfer import Endpoint, RemoteEndpoint
from backends.tree import SOURCE_NODE, RemoteTree
from core.cluster import NodeStore
from core.errors import NodeAway, UnknownVolume, VolumeUnavailable
from core.jobs.requests import TransferRequest
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from workers.run import Context, Run
from workers.verbs.transfer.node_trees import NodeTrees

#: The pause between two tries while no node of the source answers (seconds).
PAUSE_SECONDS = 0.5
_log = logger(__name__)
T = TypeVar("T")


def source_of(context: Context, request: TransferRequest) -> Endpoint | RemoteEndpoint:
    """Return the source, on another node where its volume is not served here.

    Raises:
        UnknownVolume: no node has a volume of this name.
        VolumeUnavailable: it is not mounted here now, and no other node serves it.
    """
    vfolder, path = VFolderId.parse(request.source), VFolderPath.parse(request.source_path)
    try:
        return Endpoint(context.backend(request.volume), vfolder, path)
    except (UnknownVolume, VolumeUnavailable) as error:
        nodes = NodeStore(context.store.redis)
        trees = NodeTrees(context.settings, nodes, request.volume)
        reached = context.run.patiently(trees.look)
        if not reached and not (isinstance(error, UnknownVolume) and _knows(nodes, request.volume)):
            raise
        _log.info("source on another node", source_volume=request.volume)
        patiently = _SourcePatience(context.run, trees)
        return RemoteEndpoint(vfolder, path, trees.to(vfolder), patiently)


def opened(endpoint: Endpoint | RemoteEndpoint, held: ExitStack) -> int | RemoteTree:
    """Open the directory of an endpoint for as long as `held`."""
    if isinstance(endpoint, RemoteEndpoint):
        return held.enter_context(endpoint.opened())
    return held.enter_context(endpoint.opened())


def clock_ns(context: Context, source: Endpoint | RemoteEndpoint, volume: str) -> int:
    """Return the present moment by the clock of the source's file system (nanoseconds).

    A source that accepts no change has the node's own time.
    """
    job = context.run.job.id
    try:
        if isinstance(source, RemoteEndpoint):
            return source.clock_ns(job)
        path = layout.manifest(source.vfolder.scope, job).parent
        with context.hidden_directory(context.root(volume), path) as directory:
            return clock.ticked_ns(directory)
    except OSError as error:
        _log.info("no clock of the source", errno=error.errno)
        return time.time_ns()


def _knows(nodes: NodeStore, volume: str) -> bool:
    """Return whether a node of the last day had the volume: the job waits for its return."""
    return any(volume in record["volumes"] for record in nodes.all())


class _SourcePatience:
    """Repeats calls to the nodes of the source until one answers, or the run has to stop."""

    def __init__(self, run: Run, trees: NodeTrees) -> None:
        self._run = run
        self._trees = trees

    def __call__(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call returns
        waits = False
        while True:
            self._run.check()
            try:
                answer = call()
            except NodeAway as error:
                if not waits:
                    _log.warning("waits for the source's node", reason=error.detail)
                    self._run.wait(SOURCE_NODE)
                waits = True
                threading.Event().wait(PAUSE_SECONDS)
                self._run.patiently(self._trees.look)
            else:
                if waits:
                    self._run.wait("")
                return answer
