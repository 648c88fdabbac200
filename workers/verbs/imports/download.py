"""One file from a registry: pieces in order, continued after a break, paced and checked."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from core.cluster import ArtifactDownload
from core.errors import CopyDiffers, RegistryUnavailable
from core.jobs import Counter, Released, checked_pause
from core.jobs.requests import ModelRevision
from core.telemetry import logger
from workers.run import Run
from workers.verbs.imports.sources import ImportFile, ModelSource

#: Failures in a row that an import survives: of one file, or of one call.
BREAKS_MAX = 8
#: The first pause after a break; it doubles up to the longest one (seconds).
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
#: A registry that asks to be left alone is left alone for so long at most (seconds).
RETRY_AFTER_MAX_SECONDS = 300
#: The progress of a file is recorded this often (seconds).
RECORD_SECONDS = 30.0
_log = logger(__name__)
T = TypeVar("T")


def pause(check: Callable[[], None], breaks: int, error: RegistryUnavailable) -> None:
    """Wait before a registry is called again: longer after each failure, and as it asks.

    Raises:
        Interrupted: the run has to stop.
    """
    seconds = min(FIRST_PAUSE_SECONDS * 2 ** (breaks - 1), LONGEST_PAUSE_SECONDS)
    wanted = min(error.facts.get("retry_after", 0), RETRY_AFTER_MAX_SECONDS)
    seconds = max(seconds, wanted)
    _log.warning("registry away, called again", pause_seconds=seconds, failures=breaks)
    checked_pause(check, seconds)


def patiently(run: Run, call: Callable[[], T]) -> T:
    """Return what a call to a registry returns; call again while the registry is away.

    Raises:
        Interrupted: the run has to stop.
        RegistryUnavailable: it is away for minutes.
    """
    breaks = 0
    while True:
        try:
            return call()
        except RegistryUnavailable as error:
            breaks += 1
            if breaks > BREAKS_MAX:
                raise
            pause(run.check, breaks, error)


class Download:
    """The download of one model's files; the caller says where the bytes go."""

    def __init__(
        self,
        run: Run,
        source: ModelSource,
        model: ModelRevision,
        commit: str | None,
        record: ArtifactDownload,
    ) -> None:
        self._run = run
        self._source = source
        self._model = model
        self._commit = commit
        self._record = record
        self._stop = bytearray(1)
        #: Files are received beside each other, but the run counts for one thread at a time.
        self._lock = threading.Lock()

    def check(self) -> None:
        """Return at once, or raise `Interrupted`: the run has to stop, or another file failed."""
        with self._lock:
            if self._stop[0]:
                raise Released("another file of the model failed")
            self._run.check()

    def stop(self) -> None:
        """Let the files that are being received end at their next piece."""
        self._stop[0] = 1

    def count_file(self) -> None:
        """Count a complete file."""
        with self._lock:
            self._run.count(Counter.COPIED, items=1)

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._run.count(Counter.COPIED, size_bytes=size_bytes)
            self._run.throttle.pace(0, size_bytes, self._stop)

    def pieces(self, file: ImportFile, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a file from `start` on; a broken connection is made again.

        Raises:
            Interrupted: the run has to stop.
            RegistryUnavailable: the registry breaks off again and again.
            CopyDiffers: the file has another length than the registry says.
        """
        state = _State(self._record, file, start)
        if start:
            self._count(start)
        breaks = 0
        while state.done < file.size:
            before = state.done
            try:
                yield from self._recorded(file, state)
            except RegistryUnavailable as error:
                breaks = 1 if state.done > before else breaks + 1
                if breaks > BREAKS_MAX:
                    self._record.failed(file.name, file.size, state.done, error.detail)
                    raise
                pause(self.check, breaks, error)
        self._record.complete(file.name, file.size, added=state.unrecorded)

    def _recorded(self, file: ImportFile, state: "_State") -> Iterator[bytes]:
        """Yield the bytes of one connection.

        Raises:
            RegistryUnavailable: it ended before the file did.
        """
        for piece in self._from(file, state):
            self.check()
            if state.done + len(piece) > file.size:
                raise CopyDiffers("The registry sends more than the size of the file.")
            yield piece
            state.add(len(piece))
            self._count(len(piece))
        if state.done < file.size:
            raise RegistryUnavailable("The registry ended a file too early.")

    def _from(self, file: ImportFile, state: "_State") -> Iterator[bytes]:
        """Yield the bytes from a position; a server that begins at 0 is read up to there.

        Raises:
            CopyDiffers: the file is another one than before the break.
        """
        with self._source.open(self._model, self._commit, file, state.done) as remote:
            if state.etag and remote.etag and state.etag != remote.etag and not file.digest:
                raise CopyDiffers("The file changed at the registry while it was sent.")
            state.etag = remote.etag
            skipped = state.done - remote.start
            for piece in remote.pieces():
                if skipped >= len(piece):
                    skipped -= len(piece)
                    self.check()
                    continue
                yield piece[skipped:]
                skipped = 0

    def known(self, file: ImportFile) -> None:
        """Record a file that an earlier run, or an earlier import, has completed."""
        self._count(file.size)
        self._record.complete(file.name, file.size, added=file.size)


class _State:
    """How much of a file is there, and how much of that is recorded."""

    def __init__(self, record: ArtifactDownload, file: ImportFile, done: int) -> None:
        self._record = record
        self._file = file
        self._recorded_at = time.monotonic()
        self.done = done
        self.unrecorded = done
        #: Of the last connection.
        self.etag: str | None = None

    def add(self, size_bytes: int) -> None:
        """Count bytes that came; record them from time to time."""
        self.done += size_bytes
        self.unrecorded += size_bytes
        if time.monotonic() - self._recorded_at > RECORD_SECONDS:
            file = self._file
            self._record.progress(file.name, file.size, self.done, added=self.unrecorded)
            self._recorded_at, self.unrecorded = time.monotonic(), 0
