"""The bandwidth budgets of all volumes, kept up to date while this process lives.

Once a second the process reports to the store how many streams it has of each volume with a budget.
The store answers with the budgets and with all other users that share them. No stream costs a call
to the store. While the store is away, the last answer holds; before the first answer, the limits of
the configuration file hold.
"""

import threading
from uuid import uuid4

import redis

from api.streaming import Budget, Pace
from core.cluster import BandwidthStore
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: The store gets a report this often.
BEAT_SECONDS = 1.0
#: A new process waits this long for the first answer.
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
        self._answered = threading.Event()
        self._away = False
        self._started = False

    def start(self) -> None:
        """Start to follow the store on a thread of its own, once; call it after the fork.

        Returns when the store answered, so that the first stream keeps to its budget, or after
        `FIRST_SECONDS`.
        """
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="budgets", daemon=True).start()
        self._answered.wait(FIRST_SECONDS)

    def of(self, volume: str) -> Budget:
        """Return the budget of a volume, with or without a limit."""
        found = self._budgets.get(volume)
        if found is None:
            with self._lock:
                limit = self._settings.vfolder.bytes_per_second(volume)
                found = self._budgets.setdefault(volume, Budget(volume, limit))
                found.on_begin = self._begun
        return found

    def pace(self, volume: str, direction: str = "out") -> Pace:
        """Return the pace of one stream of a volume, in a direction; the caller closes it."""
        return Pace(self.of(volume), direction)

    def _run(self) -> None:
        store = BandwidthStore(connect(self._settings, Database.JOBS))
        while True:
            self._begun.clear()
            self.beat(store)
            self._answered.set()
            self._begun.wait(BEAT_SECONDS)

    def beat(self, store: BandwidthStore) -> None:
        """Report to the store once and take over its answer; while it is away nothing changes."""
        budgets = list(self._budgets.values())
        streams = {one.volume: one.active() for one in budgets if one.rate is not None}
        try:
            shares = store.report(self._name, streams)
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
