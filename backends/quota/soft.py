"""Soft limits: this service enforces them where the storage system enforces none.

The limit lies on the volume (`backends.quota.requested_limits`); what a scope holds is in the
ledger (`core.quota.ledger`). Every writer on behalf of a caller (upload, clone, transfer, restore)
reserves before it writes and settles after:

    reserve(backend, scope, holder, size_bytes)    may refuse
    settle(backend, scope, holder, change_bytes)   published, removed, or abandoned (0)

On a volume whose storage system enforces limits, and in a scope without a limit, both do nothing.
Counted is what the files of vfolders hold (`backends.fs.space`), hard links once; the trash is not
counted. Agents write into a vfolder without asking this service: the next rescan finds what they
wrote.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import uuid4

import redis

from backends.base import Backend
from backends.fs import descriptors, freed_bytes, layout
from backends.quota import quick_usage, requested_limits
from core.errors import QuotaExceeded, StorageError
from core.names import QuotaScope
from core.quota import Balance, QuotaLedger, Thresholds
from core.redis import retrying, store_is_away, store_problem
from core.telemetry import logger

_log = logger(__name__)
T = TypeVar("T")

#: A door that has published a file waits this long for the ledger (seconds); then the figure is
#: wrong until the next rescan.
DOOR_PATIENCE_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0


class Patience(Protocol):
    """Calls the store, and calls again while it is away: `Run.patiently` in a job."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Return what the call returns."""


def _door_patience(call: Callable[[], T]) -> T:
    tries = retrying(
        first_pause_seconds=_FIRST_PAUSE_SECONDS,
        longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
        patience_seconds=DOOR_PATIENCE_SECONDS,
    )
    return tries(call)


def _once(call: Callable[[], T]) -> T:
    return call()


def count_files(directory: int) -> int | None:
    """Return the bytes of the files below a scope's directory; None when they are too many."""
    sums = quick_usage.count(directory, skip=layout.HIDDEN)
    return None if sums is None else sums.size_bytes


@dataclass(frozen=True, slots=True)
class SoftQuota:
    """The soft limits of one volume."""

    ledger: QuotaLedger
    thresholds: Thresholds
    #: Opens the volume as a directory descriptor.
    root: Callable[[], AbstractContextManager[int]]
    #: How a job waits for the store; None at a door, which answers a caller soon.
    patience: Patience | None = None
    #: Counts the bytes that the vfolders below a scope's directory hold; None is too many to count.
    count_bytes: Callable[[int], int | None] = count_files

    @property
    def _patiently(self) -> Patience:
        """Call for what is done already and must be recorded."""
        return self.patience or _door_patience

    @property
    def _ask(self) -> Patience:
        """Call before anything is done: a door refuses at once."""
        return self.patience or _once

    def limit(self, scope: QuotaScope) -> int | None:
        """Return the limit of a scope in bytes; None when there is none. Costs one small read."""
        with self.root() as root:
            limit = requested_limits.find(root, scope)
        return limit.requested_bytes if limit else None

    def balance(self, scope: QuotaScope) -> Balance:
        """Return the ledger's figures; unknown while Redis does not answer."""
        try:
            return self._ask(lambda: self.ledger.read(scope.directory))
        except redis.RedisError as error:
            _log.warning("quota ledger not read", reason=type(error).__name__)
            return Balance(None, 0, None)

    def begin(self, root: int, scope: QuotaScope, *, made: bool) -> None:
        """Start the ledger of a scope that gets a limit; count what it holds, if that is quick.

        `made` says that the scope was made just now and is empty.
        """
        name = scope.directory
        try:
            if made:
                self.ledger.forget(name)
                self.ledger.record_count(name, 0, 0)
            elif self.ledger.read(name).settled_bytes is None:
                self._count(root, scope)
        except redis.RedisError as error:  # the next rescan counts
            _log.warning("quota ledger not begun", reason=type(error).__name__)

    def end(self, scope: QuotaScope) -> None:
        """Drop the ledger of a scope that has no limit any more."""
        try:
            self._patiently(lambda: self.ledger.forget(scope.directory))
        except redis.RedisError as error:  # without a limit the figure is not read
            _log.warning("quota ledger not ended", reason=type(error).__name__)
        self.thresholds.check(self.ledger.volume, scope.directory, None, None)

    def _count(self, root: int, scope: QuotaScope) -> None:
        growth = self.ledger.growth_mark(scope.directory)
        with descriptors.opened(scope.directory, root) as directory:
            size_bytes = self.count_bytes(directory)
        if size_bytes is not None:
            self.ledger.record_count(scope.directory, size_bytes, growth)

    def reserve(self, scope: QuotaScope, holder: str, size_bytes: int, limit_bytes: int) -> None:
        """Reserve space under a limit; see the module's `reserve`."""
        try:
            others = self._ask(lambda: self._reserve(scope, holder, size_bytes, limit_bytes))
        except redis.RedisError as error:
            if not store_is_away(error):
                raise
            raise store_problem(error) from error
        if others is not None:
            left = max(limit_bytes - others, 0)
            raise QuotaExceeded(f"The quota scope has {left} bytes left, {size_bytes} wanted.")

    def _reserve(
        self, scope: QuotaScope, holder: str, size_bytes: int, limit_bytes: int
    ) -> int | None:
        """Return what the others hold when the limit would be passed, else None."""
        name = scope.directory
        answer = self.ledger.reserve(name, holder, size_bytes, limit_bytes)
        if not answer.counted:
            with self.root() as root:
                self._count(root, scope)
            answer = self.ledger.reserve(name, holder, size_bytes, limit_bytes)
            if answer.others_bytes is not None:  # the first call reserved without a figure
                self.ledger.settle(name, holder)
        return answer.others_bytes

    def clock_ms(self) -> int | None:
        """Return the time of the store; None while it does not answer."""
        try:
            return self._ask(self.ledger.clock_ms)
        except redis.RedisError as error:
            _log.warning("time of the quota ledger not read", reason=type(error).__name__)
            return None

    def settle(
        self,
        scope: QuotaScope,
        holder: str,
        change_bytes: int,
        *,
        as_reserved: bool = False,
        since_ms: int | None = None,
    ) -> int | None:
        """Settle a reservation; return what the scope holds now. See the module's `settle`."""
        try:
            name = scope.directory
            return self._patiently(
                lambda: self.ledger.settle(
                    name, holder, change_bytes, as_reserved=as_reserved, since_ms=since_ms
                )
            )
        except redis.RedisError as error:  # the change is made; a rescan corrects the figure
            _log.warning("quota ledger not settled", reason=type(error).__name__)
            return None


def soft_of(backend: Backend) -> SoftQuota | None:
    """Return the soft limits of a backend's volume; None where this service enforces none."""
    return backend.skill(SoftQuota)


def limit_of(backend: Backend, scope: QuotaScope | None) -> int | None:
    """Return the soft limit of a scope in bytes; None when there is none."""
    soft = soft_of(backend)
    return None if scope is None or soft is None else soft.limit(scope)


def reserve(
    backend: Backend, scope: QuotaScope | None, holder: str, size_bytes: int | Callable[[], int]
) -> None:
    """Reserve space for a holder (an upload, a job), in place of its reservation before.

    A function for the size is called only where a limit is set.

    A reservation ends with `settle`, or a day after it was last made. Costs one round trip where a
    limit is set. A scope that was never counted is counted first, if that takes at most two
    seconds.

    Raises:
        QuotaExceeded: the scope has not so many bytes left; the detail says how many.
        StoreUnavailable: the ledger does not answer, or refuses.
    """
    limit, soft = limit_of(backend, scope), soft_of(backend)
    if limit is not None and soft is not None and scope is not None:
        wanted = size_bytes() if callable(size_bytes) else size_bytes
        soft.reserve(scope, holder, wanted, limit)


def settle(
    backend: Backend,
    scope: QuotaScope | None,
    holder: str,
    change_bytes: int = 0,
    *,
    as_reserved: bool = False,
    since_ms: int | None = None,
) -> None:
    """End a reservation and record what the scope gained or lost; never refuses.

    The change is recorded once for this holder, though a job that died settles again. With
    `as_reserved` the scope gained what is reserved: for a process that does not know what its
    predecessor replaced. `since_ms` is when a removal began, by the store's clock (`removal_began`
    or the start of a job): a count that ended since then may have seen the loss, so the loss is not
    subtracted.
    """
    soft = soft_of(backend)
    if soft is None or scope is None:
        return
    try:
        limit = soft.limit(scope)
    except (OSError, StorageError) as error:  # the change is made; a rescan corrects the figure
        _log.warning("quota limit not read", reason=type(error).__name__)
        return
    if limit is None:  # without a limit no figure is kept
        return
    used = soft.settle(scope, holder, change_bytes, as_reserved=as_reserved, since_ms=since_ms)
    if used is not None:
        soft.thresholds.check(soft.ledger.volume, scope.directory, used, limit)


def is_counted(backend: Backend, scope: QuotaScope | None) -> bool:
    """Return whether the ledger must know what a removal from the scope frees."""
    return limit_of(backend, scope) is not None


def removal_began(backend: Backend) -> int | None:
    """Return the store's time (ms) before a removal, for `settle`; None when it is not known.

    Costs one round trip; a job has the time of its start instead.
    """
    soft = soft_of(backend)
    return None if soft is None else soft.clock_ms()


@contextmanager
def settled_removal(backend: Backend, scope: QuotaScope | None) -> Iterator[list[int]]:
    """Give a list for the bytes that the block frees, and record their sum, however it ends."""
    freed: list[int] = []
    if not is_counted(backend, scope):
        yield freed
        return
    since_ms = removal_began(backend)
    try:
        yield freed
    finally:
        if any(freed):
            settle(backend, scope, str(uuid4()), -sum(freed), since_ms=since_ms)


def size_of(path: str, dir_fd: int) -> int:
    """Return the bytes that the removal of one entry frees: what a file holds, at its last name."""
    try:
        return freed_bytes(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), dir_fd)
    except OSError:
        return 0
