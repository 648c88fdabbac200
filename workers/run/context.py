"""What a verb works with, and what it returns."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from backends.base import MountedBackend
from backends.entries import HasObjects
from backends.fs import descriptors
from backends.tree import Effort
from backends.volumes import Volumes
from backends.volumes.artifacts import VfsStorage
from core.errors import StorageError, StorageUnavailable, Unsupported
from core.jobs import Lane, State
from core.jobs.requests import Request
from core.jobs.store import JobStore
from core.names import QuotaScope
from core.settings import Settings
from core.telemetry import logger
from workers.run.manifest import Manifest, flock
from workers.run.report import Report
from workers.run.run import Run

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a verb ended: one sentence, the result document, and whether parts failed.

    `items` and `size_bytes` are what all attempts did together; None takes what this one counted.
    A job that did nothing of what was requested is `partial`, and its sentence says why.
    """

    sentence: str
    result: dict[str, Any] = field(default_factory=dict)
    state: State = State.SUCCEEDED
    items: int | None = None
    size_bytes: int | None = None


class Context:
    """The run, its request and its volumes, and everything that the run closes at its end."""

    def __init__(self, run: Run, request: Request, settings: Settings, store: JobStore) -> None:
        self.run = run
        self.request = request
        self.settings = settings
        self.store = store
        self._volumes = Volumes(settings, patiently=run.patiently)
        self._open = ExitStack()
        self._held: set[str] = set()
        self._manifest: Manifest | None = None
        self._leftovers: list[tuple[Manifest, int]] = []
        self._report: Report | None = None

    def backend(self, volume: str) -> MountedBackend:
        """Return the backend of a volume that has a mounted tree, held until the end of the run.

        Raises:
            UnknownVolume: it is not configured here.
            VolumeUnavailable: it is not mounted now.
            Unsupported: it has no tree of files.
        """
        backend = self._volumes.get(volume).skill(MountedBackend)
        if backend is None:
            raise Unsupported(f"Volume {volume} has no mounted tree of files.")
        if volume not in self._held:
            self._open.enter_context(backend.held())
            self._held.add(volume)
            if objects := backend.skill(HasObjects):
                objects.heed(self.run.check)
        return backend

    def has_lost(self, volume: str) -> bool:
        """Return whether a volume that this run holds is away: stale, disconnected or failed."""
        try:
            self.backend(volume).probe()
        except StorageError as error:
            return isinstance(error, StorageUnavailable)
        return False

    def root(self, volume: str) -> int:
        """Return a descriptor of the volume's top, open until the end of the run."""
        return self._open.enter_context(self.backend(volume).root())

    def storage_root(self, storage: VfsStorage) -> int:
        """Return a descriptor of an artifact storage's directory, open until the end of the run."""
        return self._open.enter_context(storage.root())

    def manifest(
        self, root_fd: int, scope: QuotaScope | None, *, frees_space: bool = False
    ) -> Manifest:
        """Return the job's manifest, and hold its fence; it is removed once the job is settled.

        A job that `frees_space` gets one also where the volume has no room for it.

        Raises:
            Interrupted: the run has to stop before it gets the fence.
        """
        wait = threading.Event().wait
        job, run = self.run.job.id, self.run
        manifest = Manifest(
            root_fd, scope, job, lambda fd: flock(fd, run, wait), frees_space=frees_space
        )
        self._open.callback(manifest.close)
        self._leftovers.append((manifest, root_fd))
        return manifest

    def report(self, root_fd: int, scope: QuotaScope | None, *, continues: bool) -> None:
        """Write every fault of the run into the job's report, too.

        A verb that `continues` from its manifest keeps the lines of earlier runs. It must hold the
        fence before.
        """
        begin = Report if continues else Report.emptied
        self._report = begin(root_fd, scope, self.run.job.id, self.run.job.attempt)
        self._open.callback(self._report.close)
        self.run.on_fault = self._report.add

    @property
    def report_lost(self) -> int:
        """The number of lines that the report lacks because the volume failed."""
        return self._report.lost if self._report else 0

    def note(self, path: str, reason: str) -> None:
        """Report an entry that was not touched because the request says so."""
        if self._report is not None:
            self._report.add(path, reason)

    def sync(self) -> None:
        """Bring the report to disk; a failure loses lines of the report and nothing else."""
        if self._report is None:
            return
        try:
            self._report.sync()
        except OSError as error:
            _log.warning("report not synced", errno=error.errno)

    @contextmanager
    def hidden_directory(self, root_fd: int, path: PurePosixPath) -> Iterator[int]:
        """Open one of the hidden directories below a volume; make it if it is missing."""
        with descriptors.made(path, root_fd, descriptors.HIDDEN_MODE) as descriptor:
            yield descriptor

    def forget(self) -> None:
        """Remove the manifests: the job is settled, so no run continues from them."""
        for manifest, root_fd in self._leftovers:
            try:
                manifest.remove(root_fd)
            except OSError as error:  # the job has ended nevertheless
                _log.warning("manifest left to the sweep", reason=error.strerror)

    def close(self) -> None:
        """Release every descriptor and lock; from then on there is nothing to `forget`."""
        self._leftovers.clear()
        self._held.clear()
        self._open.close()

    @property
    def effort(self) -> Effort:
        """How many processes a tree operation may use on this node, and at which priority."""
        fence = tuple(manifest.fd for manifest, _ in self._leftovers)
        worker = self.settings.vfolder.worker
        bulk = self.run.job.lane is Lane.BULK
        return Effort(
            helpers=worker.tree_processes or None,
            nice=worker.bulk_nice if bulk else 0,
            idle_io=worker.bulk_idle_io and bulk,
            throttle=self.run.throttle,
            fence=fence,
        )
