"""The budget of a volume, as the streams of this process keep it.

A budget counts two positions in one sequence of bytes: how far it was promised, and how far it is
allowed, which grows with time. A stream asks for its next piece, stands behind those who asked
before, and moves it when the allowed reaches it. So the sum is right however many there are, they
take turns, and a changed rate holds for who waits already. A stream that takes nothing asks for
nothing: what it leaves is the others'.
"""

import math
import threading
import time
from collections.abc import Iterator

from prometheus_client import Counter

from core.telemetry import metrics

#: A round, in which all who wait move a piece, is so short where pieces are worth a wake then.
ROUND_SECONDS = 0.1
WORTH_BYTES = 64 * 1024
#: Else it is longer, up to this, before pieces become smaller.
ROUND_SECONDS_LONG = 1.0
#: Pieces are never smaller (where a second moves as much) nor larger.
PIECE_BYTES_MIN = 4 * 1024
PIECE_BYTES_MAX = 4 << 20
#: What nobody moved may be moved later, for this long.
AHEAD_SECONDS = 0.25
#: Who waits looks this often whether the budget is another.
LOOK_SECONDS = 0.5
#: A stream that moved nothing for this long has no share.
ACTIVE_SECONDS = 2.0


class Budget:
    """What the streams of one volume may move together in this process; safe between threads."""

    def __init__(self, volume: str, limit: int | None = None) -> None:
        self.volume = volume
        #: Bytes per second of this process; None does not limit, and then nothing is counted.
        self.rate: float | None = None
        self._lock = threading.Lock()
        self._paces: set[Pace] = set()
        self._active = 0
        self._share = 0.0
        self._asked_at = -math.inf
        self._promised = self._allowed = 0.0
        self._waiting = 0
        self._counted_at = 0.0
        #: Set when streams begin where none were.
        self.on_begin: threading.Event | None = None
        self.follow(limit, 0)

    def active(self) -> int:
        """The streams that move, or wait for their turn; short ones that just ended are one."""
        since = time.monotonic() - ACTIVE_SECONDS
        with self._lock:
            found = sum(pace.waits or pace.moved_at > since for pace in self._paces)
            self._active = max(found, int(self._asked_at > since))
            return self._active

    def follow(self, limit: int | None, others: int) -> None:
        """Take over the volume's limit, shared with so many others outside of this process."""
        with self._lock:
            if limit is None:
                self.rate = None
                return
            here = max(self._active, 1)
            self._advance()
            if self.rate is None:
                self._allowed = self._promised
            self._share = limit / (here + others + (self._active > 0))
            self.rate = limit * here / (here + others)

    def newcomer(self) -> int | None:
        """Bytes per second for one stream more that others send; None does not limit."""
        return None if self.rate is None else max(1, int(self._share))

    def piece(self, wanted: int) -> int:
        """What a stream moves at once, of what it wants to."""
        return wanted if self.rate is None else min(wanted, self._piece())

    def promise(self, pace: "Pace", size: int) -> float:
        """Promise some bytes to a stream; the position where they end."""
        begins = False
        with self._lock:
            self._advance()
            if self._active == 0:
                self._active, begins = 1, True
            self._paces.add(pace)
            self._asked_at = self._counted_at
            self._promised += size
            self._waiting += 1
            position = self._promised
        if begins and self.on_begin is not None:
            self.on_begin.set()
        return position

    def wait(self, position: float) -> float:
        """Seconds until that position is allowed, as things stand."""
        with self._lock:
            rate = self.rate
            if rate is None:
                return 0.0
            self._advance()
            return max(0.0, (position - self._allowed) / rate)

    def settle(self, left: int) -> None:
        """A promise was used, but for so much of it."""
        with self._lock:
            self._waiting -= 1
            self._allowed += left

    def leave(self, pace: "Pace") -> None:
        """A stream ended."""
        with self._lock:
            self._paces.discard(pace)

    def _piece(self) -> int:
        rate = self.rate or PIECE_BYTES_MAX
        share = rate / (self._waiting + 1)
        worth = min(share * ROUND_SECONDS_LONG, WORTH_BYTES)
        wanted = max(share * ROUND_SECONDS, worth, min(rate, PIECE_BYTES_MIN))
        return max(1, min(int(wanted), PIECE_BYTES_MAX))

    def _advance(self) -> None:
        now = time.monotonic()
        rate = self.rate or 0.0
        ahead = max(rate * AHEAD_SECONDS, self._piece())
        allowed = self._allowed + rate * (now - self._counted_at)
        self._allowed = min(allowed, self._promised + ahead)
        self._counted_at = now


class Pace:
    """One stream's turns in the budget of its volume; used by one thread at a time.

    Who sends asks before: `wait` or `grant`, then `moved`. Who receives, and knows only then what
    came, says so with `charge` and waits with `pay` before it takes more.
    """

    def __init__(self, budget: Budget | None, direction: str = "out") -> None:
        self._budget = budget
        self._direction = direction
        self._position: float | None = None
        self._promised = 0
        self._counter: Counter | None = None
        #: What may be moved when `wait` says 0, in bytes.
        self.granted = 0
        #: Whether its turn was yet to come when it last asked.
        self.waits = False
        #: When it last moved something (monotonic).
        self.moved_at = -math.inf

    @property
    def limited(self) -> bool:
        """Whether there is a budget now."""
        return self._budget is not None and self._budget.rate is not None

    def piece(self, wanted: int) -> int:
        """What to move at once, of what is wanted."""
        return wanted if self._budget is None else self._budget.piece(wanted)

    def wait(self, wanted: int) -> float:
        """Ask to move some bytes: seconds until `granted` of them may be; 0 is now.

        Ask again after that, or sooner: the budget may have changed.
        """
        budget = self._budget
        if budget is None or budget.rate is None:
            self.granted = wanted
            return 0.0
        if self._position is None:
            self._promised = budget.piece(wanted)
            self._position = budget.promise(self, self._promised)
        self.granted = min(self._promised, wanted)
        return self._turn(budget, self._position)

    def _turn(self, budget: Budget, position: float) -> float:
        pause = budget.wait(position)
        self.waits = pause > 0
        return pause

    def grant(self, wanted: int) -> int:
        """Sleep until it is this stream's turn: bytes it may move."""
        while (pause := self.wait(wanted)) > 0:
            time.sleep(min(pause, LOOK_SECONDS))
        return self.granted

    def moved(self, size: int) -> None:
        """Say what was moved of the piece that was granted; 0 gives the turn to others."""
        if self._position is None or self._budget is None:
            return
        self._position, self.waits = None, False
        self._budget.settle(self._promised - size)
        if size:
            self._count(self._budget, size)

    def charge(self, size: int) -> None:
        """Say what was moved before it was asked for."""
        budget = self._budget
        if budget is None or budget.rate is None:
            return
        self._position, self._promised = budget.promise(self, size), 0  # nothing to give back
        self._count(budget, size)

    def pay(self, patience_seconds: float) -> bool:
        """Sleep until what was charged is paid for; false when patience ended first."""
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
        """Data in the pieces that the budget grants, each in its time; for a thread of its own."""
        at = 0
        while at < len(data):
            granted = self.grant(len(data) - at)
            self.moved(granted)
            yield data[at : at + granted] if granted < len(data) else data
            at += granted

    def close(self) -> None:
        """The stream ended; what it was promised is given back."""
        self.moved(0)
        if self._budget is not None:
            self._budget.leave(self)

    def _count(self, budget: Budget, size: int) -> None:
        self.moved_at = time.monotonic()
        if self._counter is None:
            self._counter = metrics.PACED_BYTES.labels(budget.volume, self._direction)
        self._counter.inc(size)
