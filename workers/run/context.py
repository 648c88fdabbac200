"""What a verb gets to work with, and what it gives back."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from backends.base import MountedBackend
from backends.fs import descriptors
from backends.tree import Effort
from backends.volumes import Volumes
from core.errors import Unsupported
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
    """How a verb ended: the result document, one sentence, and whether parts failed."""

    sentence: str
    result: dict[str, Any] = field(default_factory=dict)
    state: State = State.SUCCEEDED


class Context:
    """The run, the request, the volumes; and everything that must be closed at the end."""

    def __init__(self, run: Run, request: Request, settings: Settings, store: JobStore) -> None:
        self.run = run
        self.request = request
        self.settings = settings
        self.store = store
        self._volumes = Volumes(settings)
        self._open = ExitStack()
        self._manifest: Manifest | None = None
        self._leftovers: list[tuple[Manifest, int]] = []
        self._report: Report | None = None

    def backend(self, volume: str) -> MountedBackend:
        """The backend of a volume, as one with a mounted tree.

        Raises:
            UnknownVolume: it is not configured here.
            Unsupported: it has no tree of files.
        """
        found = self._volumes.get(volume).skill(MountedBackend)
        if found is None:
            raise Unsupported(f"Volume {volume} has no mounted tree of files.")
        return found

    def root(self, volume: str) -> int:
        """A descriptor of the volume's top, open until the end of the run."""
        return self._open.enter_context(self.backend(volume).root())

    def manifest(self, root_fd: int, scope: QuotaScope | None) -> Manifest:
        """The job's manifest, fenced; forgotten once the job is settled.

        Raises:
            Interrupted: the run has to stop before the fence is free.
        """
        wait = threading.Event().wait
        found = Manifest(root_fd, scope, self.run.job.id, lambda fd: flock(fd, self.run, wait))
        self._open.callback(found.close)
        self._leftovers.append((found, root_fd))
        return found

    def report(self, root_fd: int, scope: QuotaScope | None, *, goes_on: bool) -> None:
        """Keep every fault of the run in the job's report, too.

        A verb that `goes_on` from its manifest must have taken the fence before.
        """
        begin = Report if goes_on else Report.anew
        self._report = begin(root_fd, scope, self.run.job.id, self.run.job.attempt)
        self._open.callback(self._report.close)
        self.run.on_fault = self._report.add

    @property
    def report_lost(self) -> int:
        """Lines that the report lacks because the volume refused them."""
        return self._report.lost if self._report else 0

    def note(self, path: str, reason: str) -> None:
        """Tell in the report of an entry that was left as it is, by the caller's own wish."""
        if self._report is not None:
            self._report.add(path, reason)

    def sync(self) -> None:
        """Bring the report to disk; what cannot be is only the report's loss."""
        if self._report is None:
            return
        try:
            self._report.sync()
        except OSError as error:
            _log.warning("report not synced", errno=error.errno)

    @contextmanager
    def hidden_directory(self, root_fd: int, path: PurePosixPath) -> Iterator[int]:
        """One of our own directories below a volume, made if missing."""
        with descriptors.made(path, root_fd, descriptors.HIDDEN_MODE) as descriptor:
            yield descriptor

    def forget(self) -> None:
        """Remove the manifests: the job is settled, nobody will go on from them."""
        for manifest, root_fd in self._leftovers:
            try:
                manifest.remove(root_fd)
            except OSError as error:  # the job has ended all the same
                _log.warning("manifest left to the sweep", reason=error.strerror)

    def close(self) -> None:
        """Give back every descriptor and lock; from then on there is nothing to `forget`."""
        self._leftovers.clear()
        self._open.close()

    @property
    def effort(self) -> Effort:
        """How hard a tree walk may work on this node."""
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
