"""The budgets of all volumes, followed while this process lives.

Once a second the process tells the store how many streams it has of the volumes that have a budget,
and hears of their budgets and of everybody else who shares them. Nothing is asked per stream. While
the store is away the last that was heard holds, and before anything was, what the file says.
"""

import threading
from uuid import uuid4

import redis

from api.streaming import Budget, Pace
from core.cluster import BandwidthStore
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: The store is told and asked this often.
BEAT_SECONDS = 1.0
#: A process that begins waits so long for the first answer.
FIRST_SECONDS = 1.0
_log = logger(__name__)


class Budgets:
    """The budgets of the volumes in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._budgets: dict[str, Budget] = {}
        self._name = uuid4().hex
        self._begun = threading.Event()
        self._told = threading.Event()
        self._away = False

    def start(self) -> None:
        """Begin to follow the store, on a thread of its own; after the fork.

        Returns when the store answered, so that the first stream keeps to its budget, or after a
        moment.
        """
        threading.Thread(target=self._run, name="budgets", daemon=True).start()
        self._told.wait(FIRST_SECONDS)

    def of(self, volume: str) -> Budget:
        """The budget of a volume, whether it has a limit or not."""
        found = self._budgets.get(volume)
        if found is None:
            with self._lock:
                limit = self._settings.vfolder.bytes_per_second(volume)
                found = self._budgets.setdefault(volume, Budget(volume, limit))
                found.on_begin = self._begun
        return found

    def pace(self, volume: str, direction: str = "out") -> Pace:
        """Turns for one stream of a volume; direction as metrics have it. Close it at its end."""
        return Pace(self.of(volume), direction)

    def _run(self) -> None:
        book = BandwidthStore(connect(self._settings, Database.JOBS))
        while True:
            self._begun.clear()
            self.beat(book)
            self._told.set()
            self._begun.wait(BEAT_SECONDS)

    def beat(self, book: BandwidthStore) -> None:
        """Tell and ask the store once; while it is away nothing changes."""
        budgets = list(self._budgets.values())
        streams = {one.volume: one.active() for one in budgets if one.rate is not None}
        try:
            shares = book.report(self._name, streams)
        except redis.RedisError as error:
            if not self._away:
                _log.warning("budgets kept as they were", reason=type(error).__name__)
            self._away = True
            return
        self._away = False
        for volume in shares:
            self.of(volume)
        for volume, budget in list(self._budgets.items()):
            share = shares.get(volume)
            if share is None:
                budget.follow(None, 0)
            else:
                budget.follow(share.bytes_per_second, share.jobs + share.streams)
