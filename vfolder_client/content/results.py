"""What a transfer says while it runs and when it ended."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vfolder_client.connection import Connection
from vfolder_client.documents import DirectoryResult, Entry

#: The shortest time between two calls of `on_progress` (seconds).
PAUSE_SECONDS = 0.1


class ContentFolder(Protocol):
    """What transfers need of a vfolder."""

    connection: Connection
    reference: str

    @property
    def route(self) -> str:
        """The path of its routes."""

    def content_url(self, path: str) -> str:
        """Return the route of the content of a file."""

    def stat(self, path: str) -> Entry:
        """Look at one entry."""

    def list(self, path: str = "") -> Iterator[Entry]:
        """Yield the entries of a directory."""

    def mkdir(self, *paths: str, parents: bool = True) -> Sequence[DirectoryResult]:
        """Make directories."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a transfer is; None is not known yet."""

    verb: str
    done_bytes: int
    total_bytes: int | None
    done_items: int
    total_items: int | None
    errors: int
    #: Since it began.
    seconds: float
    #: The bytes that came in these seconds; what an earlier run left is not among them.
    moved_bytes: int


OnTransfer = Callable[[TransferProgress], object]


class TransferMeter:
    """The counters of a transfer; any thread may count. `on_progress` is called once at a time."""

    def __init__(self, verb: str, on_progress: OnTransfer | None = None) -> None:
        self._verb = verb
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._next = 0.0
        self._bytes = self._items = self._errors = self._moved = 0
        self._total: tuple[int, int] | None = None

    def expect(self, items: int, size_bytes: int) -> None:
        """Name what there is to do in all."""
        with self._lock:
            self._total = (items, size_bytes)
            self._report()

    def moved(self, size_bytes: int) -> None:
        """Count bytes that came now."""
        with self._lock:
            self._bytes += size_bytes
            self._moved += size_bytes
            self._report()

    def kept(self, size_bytes: int) -> None:
        """Count bytes that were there already; fewer than none where they are of no use."""
        with self._lock:
            self._bytes += size_bytes
            self._report()

    def finished(self, *, failed: bool = False) -> None:
        """Count a file that has ended."""
        with self._lock:
            self._items += not failed
            self._errors += failed
            self._next = 0.0
            self._report()

    def _report(self) -> None:
        if self._on_progress is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE_SECONDS
        items, size_bytes = self._total or (None, None)
        seconds = time.monotonic() - self._begun
        self._on_progress(
            TransferProgress(
                self._verb,
                self._bytes,
                size_bytes,
                self._items,
                items,
                self._errors,
                seconds,
                self._moved,
            )
        )


@dataclass(slots=True)
class TransferResult:
    """What a transfer did."""

    #: Files that were copied, and their bytes.
    files: int = 0
    size_bytes: int = 0
    #: Files that were there already.
    unchanged: int = 0
    #: What cannot be copied, with the reason: symlinks and special files.
    left_out: list[tuple[str, str]] = field(default_factory=list)
    #: What failed, with the error.
    failed: list[tuple[str, Exception]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything is there that can be copied."""
        return not self.failed

    def add(self, other: "TransferResult") -> None:
        """Add what another transfer did."""
        self.files += other.files
        self.size_bytes += other.size_bytes
        self.unchanged += other.unchanged
        self.left_out += other.left_out
        self.failed += other.failed
