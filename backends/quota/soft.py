"""Limits that we hold ourselves, where the storage system holds none.

The limit lies on the volume (`backends.quota.requested_limits`), what a scope holds in the ledger
(`core.quota.ledger`). Whoever writes for a caller (upload, clone, transfer, restore) reserves
before and settles after:

    reserve(backend, scope, holder, size_bytes)    may refuse
    settle(backend, scope, holder, change_bytes)   published, removed, or given up (0)

On a volume whose storage system holds limits, and in a scope without one, all of this is nothing.
Counted are the lengths of the files of vfolders, hard links once; what lies in the trash is not.
What agents write into a vfolder is not asked of us: it is found by the next rescan.
"""

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import redis

from backends.base import Backend
from backends.fs import descriptors, layout
from backends.quota import quick_usage, requested_limits
from core.errors import QuotaExceeded, StorageError, Unavailable
from core.names import QuotaScope
from core.quota import Balance, QuotaLedger, Thresholds
from core.telemetry import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class SoftQuota:
    """What holds the limits of one volume."""

    ledger: QuotaLedger
    thresholds: Thresholds
    #: A directory descriptor of the volume, for a while.
    root: Callable[[], AbstractContextManager[int]]

    def limit(self, scope: QuotaScope) -> int | None:
        """The limit of a scope; None when there is none. One small read."""
        with self.root() as root:
            wish = requested_limits.find(root, scope)
        return wish.requested_bytes if wish else None

    def balance(self, scope: QuotaScope) -> Balance:
        """What the ledger has; unknown while the store is away."""
        try:
            return self.ledger.read(scope.directory)
        except redis.RedisError as error:
            _log.warning("quota ledger not read", reason=type(error).__name__)
            return Balance(None, 0, None)

    def begin(self, root: int, scope: QuotaScope, *, made: bool) -> None:
        """A limit was set: know what the scope holds, if that is quickly found out."""
        name = scope.directory
        try:
            if made:
                self.ledger.forget(name)
                self.ledger.record_count(name, 0, 0)
            elif self.ledger.read(name).settled_bytes is None:
                self._count(root, scope)
        except redis.RedisError as error:  # the next rescan finds out
            _log.warning("quota ledger not begun", reason=type(error).__name__)

    def end(self, scope: QuotaScope) -> None:
        """There is no limit any more."""
        try:
            self.ledger.forget(scope.directory)
        except redis.RedisError as error:  # nobody reads it without a limit
            _log.warning("quota ledger not ended", reason=type(error).__name__)
        self.thresholds.check(self.ledger.volume, scope.directory, None, None)

    def _count(self, root: int, scope: QuotaScope) -> None:
        growth = self.ledger.growth_mark(scope.directory)
        with descriptors.opened(scope.directory, root) as directory:
            found = quick_usage.count(directory, skip=layout.HIDDEN)
        if found is not None:
            self.ledger.record_count(scope.directory, found.size_bytes, growth)

    def reserve(self, scope: QuotaScope, holder: str, size_bytes: int, limit_bytes: int) -> None:
        """See the module's `reserve`."""
        name = scope.directory
        try:
            if self.ledger.read(name).settled_bytes is None:
                with self.root() as root:
                    self._count(root, scope)
            used = self.ledger.reserve(name, holder, size_bytes, limit_bytes)
        except redis.RedisError as error:
            raise Unavailable("The ledger of quotas does not answer; try again.") from error
        if used is not None:
            left = max(limit_bytes - used, 0)
            raise QuotaExceeded(f"The quota scope has {left} bytes left, {size_bytes} wanted.")

    def settle(
        self, scope: QuotaScope, holder: str, change_bytes: int, *, once: bool
    ) -> int | None:
        """See the module's `settle`; what the scope holds now."""
        try:
            return self.ledger.settle(scope.directory, holder, change_bytes, once=once)
        except redis.RedisError as error:  # the act is done; a rescan corrects the figure
            _log.warning("quota ledger not settled", reason=type(error).__name__)
            return None


def soft_of(backend: Backend) -> SoftQuota | None:
    """What holds the limits of a backend's volume, if we do."""
    return backend.skill(SoftQuota)


def limit_of(backend: Backend, scope: QuotaScope | None) -> int | None:
    """The limit that we hold for a scope; None when there is none, or not by us."""
    soft = soft_of(backend)
    return None if scope is None or soft is None else soft.limit(scope)


def reserve(backend: Backend, scope: QuotaScope | None, holder: str, size_bytes: int) -> None:
    """Promise room to a holder (an upload, a job), in place of what it was promised before.

    A promise ends with `settle`, or a day after it was last made. Costs two round trips where a
    limit is set; a scope never counted is counted first if that takes no longer than two seconds.

    Raises:
        QuotaExceeded: with what is left.
        Unavailable: the ledger does not answer.
    """
    limit, soft = limit_of(backend, scope), soft_of(backend)
    if limit is not None and soft is not None and scope is not None:
        soft.reserve(scope, holder, size_bytes, limit)


def settle(
    backend: Backend,
    scope: QuotaScope | None,
    holder: str,
    change_bytes: int = 0,
    *,
    once: bool = False,
) -> None:
    """End a promise, and note what the scope gained or lost; never refuses.

    With `once` the change is made once for this holder, though a job that died asks again.
    """
    soft = soft_of(backend)
    if soft is None or scope is None:
        return
    try:
        limit = soft.limit(scope)
    except (OSError, StorageError) as error:  # the act is done; a rescan corrects the figure
        _log.warning("quota limit not read", reason=type(error).__name__)
        return
    if limit is None:  # nothing is held here, and nobody asks
        return
    used = soft.settle(scope, holder, change_bytes, once=once)
    if used is not None:
        soft.thresholds.check(soft.ledger.volume, scope.directory, used, limit)


def is_counted(backend: Backend, scope: QuotaScope | None) -> bool:
    """Whether removals from a scope matter to the ledger: somebody must count them then."""
    return limit_of(backend, scope) is not None


def size_of(path: str, dir_fd: int) -> int:
    """What the removal of one entry gives back: a file's length, when it was its last name."""
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0
