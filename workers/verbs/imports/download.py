"""One file from a registry: pieces in order, continued after a break, paced and checked."""

import time
from collections.abc import Callable, Iterator

from core.cluster import ArtifactDownload
from core.errors import CopyDiffers, RegistryUnavailable
from core.jobs import Counter
from core.jobs.requests import ModelRevision
from core.telemetry import logger
from workers.run import Run
from workers.verbs.imports.sources import ImportFile, ModelSource

#: Breaks of one file in a row that the download survives.
BREAKS_MAX = 8
#: The first pause after a break; it doubles up to the longest one (seconds).
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
#: The progress of a file is recorded this often (seconds).
RECORD_SECONDS = 30.0
#: A paused download looks this often whether the run ends (seconds).
LOOK_SECONDS = 0.2
_log = logger(__name__)
#: Pieces from a position on, which must be where the sender begins.
Write = Callable[[bytes], object]


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

    def pieces(self, file: ImportFile, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a file from `start` on; a broken connection is made again.

        Raises:
            Interrupted: the run has to stop.
            RegistryUnavailable: the registry breaks off again and again.
            CopyDiffers: the file has another length than the registry says.
        """
        state = _State(self._record, file, start)
        self._run.count(Counter.COPIED, size_bytes=start)
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
                self._pause(breaks)
        self._record.complete(file.name, file.size, added=state.unrecorded)

    def _recorded(self, file: ImportFile, state: "_State") -> Iterator[bytes]:
        """Yield the bytes of one connection.

        Raises:
            RegistryUnavailable: it ended before the file did.
        """
        for piece in self._from(file, state.done):
            self._run.check()
            if state.done + len(piece) > file.size:
                raise CopyDiffers("The registry sends more than the size of the file.")
            yield piece
            state.add(len(piece))
            self._run.count(Counter.COPIED, size_bytes=len(piece))
            self._run.throttle.pace(0, len(piece), self._stop)
        if state.done < file.size:
            raise RegistryUnavailable("The registry ended a file too early.")

    def _from(self, file: ImportFile, start: int) -> Iterator[bytes]:
        """Yield the bytes from a position; a server that begins at 0 is read up to there."""
        with self._source.open(self._model, self._commit, file, start) as remote:
            skipped = start - remote.start
            for piece in remote.pieces():
                if skipped >= len(piece):
                    skipped -= len(piece)
                    self._run.check()
                    continue
                yield piece[skipped:]
                skipped = 0

    def _pause(self, breaks: int) -> None:
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** (breaks - 1), LONGEST_PAUSE_SECONDS)
        _log.warning("download broken, continues", pause_seconds=seconds, breaks=breaks)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._run.check()
            time.sleep(LOOK_SECONDS)

    def known(self, file: ImportFile) -> None:
        """Record a file that an earlier run has completed."""
        self._run.count(Counter.COPIED, size_bytes=file.size)
        self._record.complete(file.name, file.size, added=file.size)


class _State:
    """How much of a file is there, and how much of that is recorded."""

    def __init__(self, record: ArtifactDownload, file: ImportFile, done: int) -> None:
        self._record = record
        self._file = file
        self._recorded_at = time.monotonic()
        self.done = done
        self.unrecorded = done

    def add(self, size_bytes: int) -> None:
        """Count bytes that came; record them from time to time."""
        self.done += size_bytes
        self.unrecorded += size_bytes
        if time.monotonic() - self._recorded_at > RECORD_SECONDS:
            file = self._file
            self._record.progress(file.name, file.size, self.done, added=self.unrecorded)
            self._recorded_at, self.unrecorded = time.monotonic(), 0
