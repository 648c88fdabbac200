"""An archive as the body of a response: what it holds open, and its pieces as they are sent."""

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from itertools import chain, islice

from api.streaming.pacing import Pace
from backends.archives import ZIP, ArchiveFormat, Deviations, Piece, cut, plan
from backends.fs import translate
from core.errors import StorageError, Unavailable
from core.telemetry import logger, metrics

#: Archives that one process packs at a time. Each has a share of its packing threads, and holds
#: up to 2 MiB for a reader that stalls.
PACKING_MAX = 32
#: After how many seconds a refused caller may try again.
PACKING_RETRY_SECONDS = 30

_packing = threading.BoundedSemaphore(PACKING_MAX)
_log = logger(__name__)


class ArchiveResponse:
    """The body of one response; closing it closes the plan and the descriptor that it holds.

    `on_batch` is called while the entries are planned (`plan.make`).
    A `tolerant` archive leaves out what it cannot send, and names that in its last entry. Its
    length is not known before its end.

    Raises:
        Unavailable: this process packs as many archives as it may.
        StorageError: see `plan.make`.
    """

    def __init__(
        self,
        top: int,
        sources: list[plan.Source],
        form: ArchiveFormat,
        pace: Pace,
        *,
        on_batch: Callable[[], object] = bool,
        tolerant: bool = False,
    ) -> None:
        self.form = form
        #: Its turns in the budget of its volume; a caller that takes `pieces` must ask it.
        self.pace = pace
        #: Whether the server sends it in chunks.
        self.framed = False
        with ExitStack() as stack:
            stack.callback(pace.close)
            if form.packs:
                _begin_packing()
                stack.callback(_packing.release)
            own_top = os.dup(top)
            stack.callback(os.close, own_top)
            self._met = Deviations(tolerant=tolerant)
            stack.callback(self._met.close)
            # In a tolerant archive the first name of a file may be left out: no name points to it.
            self._plan = plan.make(
                own_top,
                sources,
                hard_links=form.hard_links and not tolerant,
                on_batch=on_batch,
                leave_out=self._met.add if tolerant else None,
                on_time=self._met.add,
                name_bytes_max=form.name_bytes_max,
            )
            stack.callback(self._plan.close)
            self._archive = form.make(own_top, self._plan, self._met)
            #: Bytes of the body; None where they are unknown before the end (a packed archive).
            self.length = self._archive.size
            self._held = stack.pop_all()
        self._start = 0
        self._stream: Generator[Piece, None, None] | None = None
        self._first: list[Piece] = []

    @property
    def etag(self) -> str:
        """The entity tag: the same on every node, another one for each format."""
        return f'"{self._plan.tag}"' if self.form is ZIP else f'"{self._plan.tag}-{self.form.name}"'

    def limit(self, start: int, length: int) -> None:
        """Send only this part; the length must be known."""
        self._start, self.length = start, length

    def begin(self) -> None:
        """Make the first piece before the head is sent: what fails here is a problem document.

        Raises:
            StorageError: an entry cannot be sent as it was planned.
        """
        stream = self._stream = self._archive_pieces()
        self._held.callback(stream.close)
        try:
            self._first = list(islice(stream, 1))
        except OSError as error:
            raise translate(error) from error

    def _archive_pieces(self) -> Generator[Piece, None, None]:
        yield from self._archive.pieces(self._start)

    def pieces(self) -> Iterator[Piece]:
        """Return the pieces to send, once; they are valid until the body is closed.

        Raises:
            ConnectionAbortedError: an entry cannot be sent as it was planned.
        """
        pieces = self._pieces()
        self._held.callback(pieces.close)
        return pieces

    def _pieces(self) -> Generator[Piece, None, None]:
        stream = self._stream or self._archive_pieces()
        pieces, self._first = chain(self._first, stream), []
        try:
            yield from pieces if self.length is None else cut(pieces, 0, self.length)
        except StorageError as error:
            _log.warning("archive cut", error_code=error.error_code, detail=error.detail)
            raise ConnectionAbortedError from error
        finally:
            if self._met.count:
                examples = self._met.examples
                _log.info("archive not as planned", entries=self._met.count, examples=examples)

    def __iter__(self) -> Iterator[bytes]:
        """Yield its bytes in paced pieces, for a server that knows only bytes."""
        for piece in self.pieces():
            for part in (piece,) if isinstance(piece, bytes) else piece.read():
                yield from self.pace.pieces(part)
                metrics.STREAMED_BYTES.labels("out").inc(len(part))

    def abandon(self) -> None:
        """Send no more; nothing is to be done before it is closed."""

    def close(self) -> None:
        """Close what it holds open; a second call does nothing."""
        self._held.close()


def _begin_packing() -> None:
    if not _packing.acquire(blocking=False):
        raise Unavailable(
            "This node packs as many archives as it may at a time; try again, or ask for a format"
            " that is not packed.",
            retry_after=PACKING_RETRY_SECONDS,
        )
