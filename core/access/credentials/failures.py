"""Limits on refused credentials, so that none can be guessed and no log can be filled.

    vfolder:access:failures:<network>                  failures of a network in its window
    vfolder:access:failures:<network>:<credential>     those with one credential
    vfolder:access:pause:<network>:<credential>        there while this one has to pause

In database 0 of the `live` role; every key expires. While the store is away, each process counts
alone. A failure never counts for a user: a caller in another network cannot lock the user out.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, ip_network
from math import ceil
from typing import TypeVar, cast

import redis

from core.access.credentials.keys import plain_address
from core.errors import Throttled
from core.settings import AccessTable

_PREFIX = "vfolder:access:"
#: The first pause (seconds); each further failure doubles it.
FIRST_PAUSE_SECONDS = 2.0
#: One household or office (IPv4), and one subnet (RFC 4291 §2.5.4).
NETWORK_BITS = {4: 24, 6: 64}
#: While the store is away: most counts of a process, and how long it does not ask (seconds).
COUNTS_MAX = 10_000
STORE_PAUSE_SECONDS = 5.0
#: Doubling ends here, before numbers get long; the pause has its own bound.
_DOUBLINGS_MAX = 20

_Found = TypeVar("_Found")


class FailureLimits:
    """The counts of failures. Safe for threads."""

    def __init__(self, table: AccessTable, client: "redis.Redis | None") -> None:
        """Count in the store that `client` speaks to; None counts in this process alone."""
        self._table = table
        self._client = client
        self._own = OwnCounts()
        self._store_pause_ends = 0.0

    def check(self, address: str, credential: str) -> bool:
        """Refuse the request while its network and credential have to pause.

        Return whether the credential has failures that `succeeded` would forget.

        Raises:
            Throttled: `retry_after` says how long.
        """
        where = network_of(address)
        pause, one = _pause_key(where, credential), _credential_key(where, credential)
        all_ones = _network_key(where)
        paused, failed, failures, window = self._asked(
            lambda client: _read(client, pause, one, all_ones),
            lambda own: (own.left(pause), own.count(one), own.count(all_ones), own.left(all_ones)),
        )
        if failures < self._table.failures_per_network:
            window = 0.0
        seconds = max(paused, window)
        if seconds > 0:
            raise Throttled(
                "Too many credentials were refused. Wait for the seconds of Retry-After.",
                retry_after=max(1, ceil(seconds)),
            )
        return failed > 0

    def failed(self, address: str, credential: str, *, genuine: bool = False) -> None:
        """Count a failure; that of a `genuine` credential, which was good once, for itself alone.

        Else an office whose tokens end in the same minute would be shut out by its own browsers.
        """
        where = network_of(address)
        one, all_ones = _credential_key(where, credential), _network_key(where)
        window = self._table.failure_window_seconds

        def in_store(client: "redis.Redis") -> int:
            with client.pipeline(transaction=False) as pipe:
                pipe.incr(one)
                pipe.pexpire(one, _milliseconds(window + self._table.failure_pause_max_seconds))
                if not genuine:
                    pipe.incr(all_ones)
                    pipe.pexpire(all_ones, _milliseconds(window), nx=True)
                count = cast("int", pipe.execute()[0])
            if (pause := self._pause(count)) > 0:
                client.set(_pause_key(where, credential), "1", px=_milliseconds(pause))
            return count

        def in_process(own: "OwnCounts") -> int:
            count = own.add(one, window + self._table.failure_pause_max_seconds, again=True)
            if not genuine:
                own.add(all_ones, window, again=False)
            if (pause := self._pause(count)) > 0:
                own.add(_pause_key(where, credential), pause, again=True)
            return count

        self._asked(in_store, in_process)

    def succeeded(self, address: str, credential: str) -> None:
        """Forget the failures of a credential that was proved; those of the network stay."""
        where = network_of(address)
        keys = (_credential_key(where, credential), _pause_key(where, credential))
        self._asked(lambda client: client.delete(*keys), lambda own: own.forget(*keys))

    def _pause(self, failures: int) -> float:
        """Return how long a credential pauses after so many failures (seconds)."""
        beyond = failures - self._table.failures
        if beyond < 0:
            return 0.0
        pause = float(FIRST_PAUSE_SECONDS * 2 ** min(beyond, _DOUBLINGS_MAX))
        return min(pause, self._table.failure_pause_max_seconds)

    def _asked(
        self, store: "Callable[[redis.Redis], _Found]", own: "Callable[[OwnCounts], _Found]"
    ) -> _Found:
        """Return what the store answers; what this process knows while the store is away."""
        if self._client is not None and time.monotonic() >= self._store_pause_ends:
            with suppress(redis.RedisError):
                return store(self._client)
            self._store_pause_ends = time.monotonic() + STORE_PAUSE_SECONDS
        return own(self._own)


class OwnCounts:
    """Counts that expire, in this process. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}

    def add(self, key: str, seconds: float, *, again: bool) -> int:
        """Add one to a count that ends after so long, from now on with `again`; return it."""
        now = self._clock()
        with self._lock:
            count, ends = self._counts.pop(key, (0, 0.0))
            if ends <= now:
                count, again = 0, True
            self._counts[key] = (count + 1, now + seconds if again else ends)
            if len(self._counts) > COUNTS_MAX:
                del self._counts[next(iter(self._counts))]
            return count + 1

    def count(self, key: str) -> int:
        """Return a count."""
        return self._counts.get(key, (0, 0.0))[0] if self.left(key) > 0 else 0

    def left(self, key: str) -> float:
        """Return how long a count still lives (seconds)."""
        return max(0.0, self._counts.get(key, (0, 0.0))[1] - self._clock())

    def forget(self, *keys: str) -> None:
        """Drop counts."""
        for key in keys:
            self._counts.pop(key, None)


def network_of(address: str) -> str:
    """Return the network that an address counts for; any other text is a network of its own."""
    try:
        found = plain_address(address)
    except ValueError:
        return "unknown"
    bits = NETWORK_BITS[4 if isinstance(found, IPv4Address) else 6]
    return str(ip_network((found, bits), strict=False))


def _read(
    client: "redis.Redis", pause: str, one: str, all_ones: str
) -> tuple[float, int, int, float]:
    with client.pipeline(transaction=False) as pipe:
        pipe.pttl(pause)
        pipe.mget(one, all_ones)
        pipe.pttl(all_ones)
        paused, (failed, failures), window = pipe.execute()
    return max(0, paused) / 1000, int(failed or 0), int(failures or 0), max(0, window) / 1000


def _network_key(network: str) -> str:
    return f"{_PREFIX}failures:{network}"


def _credential_key(network: str, credential: str) -> str:
    return f"{_PREFIX}failures:{network}:{_short(credential)}"


def _pause_key(network: str, credential: str) -> str:
    return f"{_PREFIX}pause:{network}:{_short(credential)}"


def _short(credential: str) -> str:
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
