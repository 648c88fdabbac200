"""The bandwidth budget of a volume, shared by the streams of this process.

A budget counts two positions in one sequence of bytes: how far it is promised, and how far it is
allowed. The second grows with time. A stream requests its next piece and waits behind earlier
requests. It moves the piece when the allowed position reaches the end of the piece. So the sum is
right for any number of streams, they take turns, and a changed rate holds for waiting streams, too.
A stream that moves no byte requests none, and the others get its share.
"""

import errno
import math
import threading
import time
from collections.abc import Iterator

from prometheus_client import Counter

from core.telemetry import metrics

#: In one round every waiting stream moves a piece. A round is this short where each piece has at
#: least `WORTH_BYTES`: a smaller piece is not worth waking a thread.
ROUND_SECONDS = 0.1
WORTH_BYTES = 64 * 1024
#: Else the round becomes longer, up to this, before pieces become smaller.
ROUND_SECONDS_LONG = 1.0
#: Pieces are never smaller (where one second moves as much) nor larger.
PIECE_BYTES_MIN = 4 * 1024
PIECE_BYTES_MAX = 4 << 20
#: Bytes that no stream moved may be moved later, for this long.
AHEAD_SECONDS = 0.25
#: A waiting stream checks this often whether the budget has changed.
LOOK_SECONDS = 0.5
#: A stream that moved no byte for this long has no share.
ACTIVE_SECONDS = 2.0


class Budget:
    """The bytes that all streams of one volume may move in this process; safe between threads."""

    def __init__(self, volume: str, limit: int | None = None) -> None:
        self.volume = volume
        #: Bytes per second of this process; None is no limit, and then no byte is counted.
        self.rate: float | None = None
        self._lock = threading.Lock()
        self._paces: set[Pace] = set()
        self._active = 0
        self._share = 0.0
        self._requested_at = -math.inf
        self._promised = self._allowed = 0.0
        self._waiting = 0
        self._counted_at = 0.0
        #: Set when the first stream begins.
        self.on_begin: threading.Event | None = None
        self.follow(limit, 0)

    def active(self) -> int:
        """Return how many streams move or wait; short ones that just ended count as one."""
        since = time.monotonic() - ACTIVE_SECONDS
        with self._lock:
            moving = sum(pace.waits or pace.moved_at > since for pace in self._paces)
            self._active = max(moving, int(self._requested_at > since))
            return self._active

    def follow(self, limit: int | None, others: int) -> None:
        """Set the volume's limit, which so many streams outside of this process share."""
        with self._lock:
            if limit is None:
                self.rate = None
                return
            own = max(self._active, 1)
            self._advance()
            if self.rate is None:
                self._allowed = self._promised
            self._share = limit / (own + others + (self._active > 0))
            self.rate = limit * own / (own + others)

    def newcomer(self) -> int | None:
        """Return bytes per second for one more stream that another server sends; None: no limit."""
        return None if self.rate is None else max(1, int(self._share))

    def piece(self, size: int) -> int:
        """Return how many of `size` bytes a stream moves in one piece."""
        return size if self.rate is None else min(size, self._piece())

    def promise(self, pace: "Pace", size: int) -> float:
        """Promise bytes to a stream and return the position where they end."""
        is_first = False
        with self._lock:
            self._advance()
            if self._active == 0:
                self._active, is_first = 1, True
            self._paces.add(pace)
            self._requested_at = self._counted_at
            self._promised += size
            self._waiting += 1
            position = self._promised
        if is_first and self.on_begin is not None:
            self.on_begin.set()
        return position

    def wait(self, position: float) -> float:
        """Return the seconds until a position is allowed, at the present rate."""
        with self._lock:
            rate = self.rate
            if rate is None:
                return 0.0
            self._advance()
            return max(0.0, (position - self._allowed) / rate)

    def settle(self, left: int) -> None:
        """End a promise, of which so many bytes are left."""
        with self._lock:
            self._waiting -= 1
            self._allowed += left

    def leave(self, pace: "Pace") -> None:
        """Remove a stream that ended."""
        with self._lock:
            self._paces.discard(pace)

    def _piece(self) -> int:
        rate = self.rate or PIECE_BYTES_MAX
        share = rate / (self._waiting + 1)
        worth = min(share * ROUND_SECONDS_LONG, WORTH_BYTES)
        piece = max(share * ROUND_SECONDS, worth, min(rate, PIECE_BYTES_MIN))
        return max(1, min(int(piece), PIECE_BYTES_MAX))

    def _advance(self) -> None:
        now = time.monotonic()
        rate = self.rate or 0.0
        ahead = max(rate * AHEAD_SECONDS, self._piece())
        allowed = self._allowed + rate * (now - self._counted_at)
        self._allowed = min(allowed, self._promised + ahead)
        self._counted_at = now


class Pace:
    """One stream's turns in the budget of its volume; used by one thread at a time.

    A sender asks before it moves bytes: `wait` or `grant`, then `moved`. A receiver knows only
    afterwards how much came: it reports that with `charge` and waits with `pay` before it reads on.
    """

    def __init__(self, budget: Budget | None, direction: str = "out") -> None:
        self._budget = budget
        self._direction = direction
        self._position: float | None = None
        self._promised = 0
        self._counter: Counter | None = None
        #: Bytes that may be moved when `wait` returns 0.
        self.granted = 0
        #: Whether it waited for its turn when it last asked.
        self.waits = False
        #: When it last moved bytes (monotonic seconds).
        self.moved_at = -math.inf
        self.closed = False
        self._is_cut = False

    def cut_off(self) -> None:
        """Let no more bytes move; the sender learns it with the next piece."""
        self._is_cut = True

    @property
    def is_cut(self) -> bool:
        """Whether it was cut off; a sender whose reader takes nothing has no next piece."""
        return self._is_cut

    def check(self) -> None:
        """Raise where the stream was cut off.

        Raises:
            ConnectionAbortedError: its reader may have no more.
        """
        if self._is_cut:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the stream was cut off")

    @property
    def limited(self) -> bool:
        """Whether a limit holds now."""
        return self._budget is not None and self._budget.rate is not None

    def piece(self, size: int) -> int:
        """Return how many of `size` bytes to move in one piece."""
        return size if self._budget is None else self._budget.piece(size)

    def wait(self, size: int) -> float:
        """Ask to move `size` bytes; return the seconds until `granted` of them may move, 0 for now.

        Ask again after that time, or sooner: the budget may have changed.
        """
        budget = self._budget
        if budget is None or budget.rate is None:
            self.granted = size
            return 0.0
        if self._position is None:
            self._promised = budget.piece(size)
            self._position = budget.promise(self, self._promised)
        self.granted = min(self._promised, size)
        return self._turn(budget, self._position)

    def _turn(self, budget: Budget, position: float) -> float:
        pause = budget.wait(position)
        self.waits = pause > 0
        return pause

    def grant(self, size: int) -> int:
        """Sleep until this stream's turn and return how many of `size` bytes it may move.

        Raises:
            ConnectionAbortedError: see `check`.
        """
        self.check()
        while (pause := self.wait(size)) > 0:
            time.sleep(min(pause, LOOK_SECONDS))
        return self.granted

    def moved(self, size: int) -> None:
        """Report how many bytes of the granted piece moved; 0 gives the turn to other streams."""
        if self._position is None or self._budget is None:
            return
        self._position, self.waits = None, False
        self._budget.settle(self._promised - size)
        if size:
            self._count(self._budget, size)

    def charge(self, size: int) -> None:
        """Report bytes that moved before they were granted."""
        budget = self._budget
        if budget is None or budget.rate is None:
            return
        self._position, self._promised = budget.promise(self, size), 0  # nothing to give back
        self._count(budget, size)

    def pay(self, patience_seconds: float) -> bool:
        """Sleep until the charged bytes are allowed; return false when patience ends first."""
        if self._position is None or self._budget is None:
            return True
        deadline = time.monotonic() + patience_seconds
        while (pause := self._turn(self._budget, self._position)) > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left, LOOK_SECONDS))
        self.moved(0)
        return True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield data in the pieces that the budget grants; this blocks the thread."""
        at = 0
        while at < len(data):
            granted = self.grant(len(data) - at)
            self.moved(granted)
            yield data[at : at + granted] if granted < len(data) else data
            at += granted

    def close(self) -> None:
        """End the stream; the budget gets back what was promised to it."""
        self.closed = True
        self.moved(0)
        if self._budget is not None:
            self._budget.leave(self)

    def _count(self, budget: Budget, size: int) -> None:
        self.moved_at = time.monotonic()
        if self._counter is None:
            self._counter = metrics.PACED_BYTES.labels(budget.volume, self._direction)
        self._counter.inc(size)
