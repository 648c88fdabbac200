"""Soft limits: this service enforces them where the storage system enforces none.

The limit lies on the volume (`backends.quota.requested_limits`); what a scope holds is in the
ledger (`core.quota.ledger`). Every writer on behalf of a caller (upload, clone, transfer, restore)
reserves before it writes and settles after:

    reserve(backend, place, holder, size_bytes)    may refuse
    settle(backend, place, holder, change_bytes)   published, removed, or abandoned (0)

A place is a vfolder, whose scope counts, too; or a scope alone, for what brings or takes a complete
vfolder. The limit of a vfolder is in its access record, on volumes of every kind. Without a limit,
and for a scope whose limit the storage system enforces, both do nothing.

Counted is what the files of vfolders hold (`backends.fs.space`), hard links once; the trash is not
counted. Agents write into a vfolder without asking this service: the next rescan finds what they
wrote.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol, TypeVar
from uuid import uuid4

import redis

from backends.base import Backend
from backends.fs import descriptors, freed_bytes, layout
from backends.quota import quick_usage, requested_limits
from core.errors import QuotaExceeded, StorageError
from core.names import QuotaScope, VFolderId
from core.quota import (
    Account,
    Balance,
    QuotaLedger,
    Reservation,
    Thresholds,
    Total,
    TotalLimits,
)
from core.redis import retrying, store_is_away, store_problem
from core.telemetry import logger

_log = logger(__name__)
T = TypeVar("T")

#: A door that has published a file waits this long for the ledger (seconds); then the figure is
#: wrong until the next rescan.
DOOR_PATIENCE_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0


#: What has no room, in a refusal.
_SUBJECTS = {
    "vfolder": "The vfolder",
    "scope": "The quota scope",
    "total": "The user or group, over all volumes,",
}
#: What a change is of; a legacy vfolder has no scope.
Place = VFolderId | QuotaScope | None


class VFolderLimit(NamedTuple):
    """The limit of a vfolder, and the id of its owner as 32 digits."""

    limit_bytes: int
    owner: str


class VFolderLimits(Protocol):
    """Reads limits of vfolders from their records: `backends.volumes.vfolder_limits`."""

    def __call__(self, vfolder: VFolderId, /, *, fresh: bool = False) -> VFolderLimit | None:
        """Return the limit of a vfolder, or what it was a second ago unless `fresh`."""


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
    #: Reads the limit of a vfolder from its record; None where people set none.
    vfolder_limit: VFolderLimits | None = None
    #: False where the storage system enforces the limits of scopes.
    holds_scopes: bool = True
    #: The limits of users and groups over all volumes; None where people set none.
    totals: TotalLimits | None = None

    @property
    def _patiently(self) -> Patience:
        """Call for what is done already and must be recorded."""
        return self.patience or _door_patience

    @property
    def ask(self) -> Patience:
        """Call before anything is done: a door refuses at once."""
        return self.patience or _once

    def limit(self, scope: QuotaScope) -> int | None:
        """Return the limit of a scope in bytes; None when there is none. Costs one small read."""
        with self.root() as root:
            limit = requested_limits.find(root, scope)
        return limit.requested_bytes if limit else None

    def accounts(self, place: Place) -> list[Account]:
        """Return the accounts with a limit that a change of a place is about. Costs small reads."""
        vfolder = place if isinstance(place, VFolderId) else None
        scope = place.scope if isinstance(place, VFolderId) else place
        found = []
        if scope is not None:
            limit_bytes = self.limit(scope) if self.holds_scopes else None
            if limit_bytes is not None or self.total(scope.directory) is not None:
                found.append(Account(scope.directory, limit_bytes, scope.directory))
        own = None if vfolder is None else self.account_of(vfolder)
        return found if own is None else [*found, own]

    def account_of(self, vfolder: VFolderId, *, fresh: bool = False) -> Account | None:
        """Return the account of a vfolder; None when it has no limit. Costs one small read."""
        own = None if self.vfolder_limit is None else self.vfolder_limit(vfolder, fresh=fresh)
        return None if own is None else Account(account_name(vfolder), *own)

    def total(self, scope: str) -> Total | None:
        """Return the limit over all volumes of a scope, by its directory; None without one."""
        limit_bytes = None if self.totals is None else self.totals.limit(scope)
        if self.totals is None or limit_bytes is None:
            return None
        self.totals.include(self.ledger.volume)
        others = self.totals.volumes() - {self.ledger.volume}
        return Total(limit_bytes, scope, tuple(sorted(others)))

    def _total_of(self, accounts: Sequence[Account]) -> Total | None:
        """Return the total that accounts count for; the first one is that of a scope, if any."""
        first = accounts[0]
        return self.total(first.name) if first.view == "scope" else None

    def balance(self, account: str) -> Balance:
        """Return the ledger's figures; unknown while Redis does not answer."""
        try:
            return self.ask(lambda: self.ledger.read(account))
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
                self._count(root, name)
        except redis.RedisError as error:  # the next rescan counts
            _log.warning("quota ledger not begun", reason=type(error).__name__)

    def end(self, account: str, *, gone: bool = False) -> None:
        """Drop the account of a scope or vfolder that has no limit any more, or is `gone`.

        Where a total counts it, it stays, and one that is gone holds nothing.
        """
        counts = self.total(account) is not None
        try:
            if gone or not counts:
                self._patiently(lambda: self.ledger.forget(account))
            if gone and counts:
                self._patiently(lambda: self.ledger.record_count(account, 0, 0))
        except redis.RedisError as error:  # without a limit the figure is not read
            _log.warning("quota ledger not ended", reason=type(error).__name__)
        self.thresholds.check(self.ledger.volume, account, None, None)

    def follow_total(self, scope: QuotaScope) -> bool:
        """Start the account of a scope whose total changed; return whether its usage is known."""
        name = scope.directory
        if self.totals is not None:
            self.totals.forget()
        if self.total(name) is None:
            return True
        try:
            if self.ledger.read(name).settled_bytes is None:
                with self.root() as root:
                    try:
                        self._count(root, name)
                    except FileNotFoundError:  # the volume has no such scope
                        self.ledger.record_count(name, 0, 0)
            return self.ledger.read(name).settled_bytes is not None
        except redis.RedisError as error:  # the next rescan counts
            _log.warning("quota ledger not begun", reason=type(error).__name__)
            return False

    def begin_vfolder(self, account: Account) -> bool:
        """Start the account of a vfolder that got a limit; return whether its usage is known."""
        try:
            if self.ledger.read(account.name).settled_bytes is None:
                with self.root() as root:
                    self._count(root, account.name)
            used_bytes = self.ledger.read(account.name).used_bytes
        except redis.RedisError as error:  # the next rescan counts
            _log.warning("quota ledger not begun", reason=type(error).__name__)
            return False
        self.publish([account], [used_bytes])
        return used_bytes is not None

    def _count(self, root: int, name: str) -> None:
        """Count what an account holds, if that is quick."""
        growth = self.ledger.growth_mark(name)
        scope, _, vfolder = name.partition("/")
        if vfolder:
            # The files of a vfolder on a storage of objects are counted by a job alone.
            if self.count_bytes is not count_files:
                return
            path = PurePosixPath(scope, vfolder[:2], vfolder[2:4], vfolder[4:])
            with descriptors.opened(path, root) as directory:
                sums = quick_usage.count(directory)
                size_bytes = None if sums is None else sums.size_bytes
        else:
            with descriptors.opened(scope, root) as directory:
                size_bytes = self.count_bytes(directory)
        if size_bytes is not None:
            self.ledger.record_count(name, size_bytes, growth)

    def reserve(self, accounts: Sequence[Account], holder: str, size_bytes: int) -> None:
        """Reserve space under limits; see the module's `reserve`."""
        try:
            answer = self.ask(lambda: self._reserve(accounts, holder, size_bytes))
        except redis.RedisError as error:
            if not store_is_away(error):
                raise
            raise store_problem(error) from error
        full = answer.full
        if full is not None:
            left = max((full.limit_bytes or 0) - (answer.others_bytes or 0), 0)
            raise QuotaExceeded(
                f"{_SUBJECTS[full.view]} has {left} bytes left, {size_bytes} wanted.",
                limited_by=full.view,
                left_bytes=left,
                used_bytes=answer.others_bytes,
                as_of=answer.as_of,
            )

    def _reserve(self, accounts: Sequence[Account], holder: str, size_bytes: int) -> Reservation:
        total = self._total_of(accounts)
        answer = self.ledger.reserve(accounts, holder, size_bytes, total)
        if answer.uncounted:
            with self.root() as root:
                for account in answer.uncounted:
                    self._count(root, account.name)
            uncounted = [account.name for account in answer.uncounted]
            answer = self.ledger.reserve(accounts, holder, size_bytes, total)
            if answer.full is not None:  # the first call reserved without a figure
                self.ledger.settle(uncounted, holder)
        return answer

    def clock_ms(self) -> int | None:
        """Return the time of the store; None while it does not answer."""
        try:
            return self.ask(self.ledger.clock_ms)
        except redis.RedisError as error:
            _log.warning("time of the quota ledger not read", reason=type(error).__name__)
            return None

    def settle(
        self,
        accounts: Sequence[Account],
        holder: str,
        change_bytes: int,
        *,
        as_reserved: bool = False,
        since_ms: int | None = None,
    ) -> None:
        """Settle a reservation; see the module's `settle`."""
        names = [account.name for account in accounts]
        try:
            used = self._patiently(
                lambda: self.ledger.settle(
                    names, holder, change_bytes, as_reserved=as_reserved, since_ms=since_ms
                )
            )
        except redis.RedisError as error:  # the change is made; a rescan corrects the figure
            _log.warning("quota ledger not settled", reason=type(error).__name__)
            return
        self.publish(accounts, used)

    def publish(self, accounts: Sequence[Account], used: Sequence[int | None]) -> None:
        """Publish the thresholds that accounts have reached, and that of their total."""
        for account, used_bytes in zip(accounts, used, strict=True):
            if used_bytes is not None and account.limit_bytes is not None:
                limit = account.limit_bytes
                volume, name = self.ledger.volume, account.name
                self.thresholds.check(volume, name, used_bytes, limit, owner=account.owner)
        total = self._total_of(accounts)
        if total is not None:
            self.publish_total(total)

    def publish_total(self, total: Total) -> None:
        """Publish the threshold that a total has reached. Costs a round trip."""
        try:
            found = self.ledger.read_total(total.scope, {self.ledger.volume, *total.volumes})
        except redis.RedisError as error:
            _log.warning("quota ledger not read", reason=type(error).__name__)
            return
        if found.used_bytes is not None:
            self.thresholds.check("", total.scope, found.used_bytes, total.limit_bytes)


@dataclass(frozen=True, slots=True)
class VFolderCount:
    """A count of a vfolder with a limit, for its account; `begin_count` makes it."""

    soft: SoftQuota
    account: Account
    growth: int

    def end(self, size_bytes: int) -> None:
        """Keep what was counted, and publish the thresholds that it has reached."""
        ledger, name = self.soft.ledger, self.account.name
        self.soft.ask(lambda: ledger.record_count(name, size_bytes, self.growth))
        self.soft.publish([self.account], [self.soft.balance(name).used_bytes])


def begin_count(backend: Backend, vfolder: VFolderId) -> VFolderCount | None:
    """Begin a count of a vfolder; None for one without a limit.

    Raises:
        redis.RedisError: the ledger does not answer.
    """
    soft = ledger_of(backend)
    account = None if soft is None else soft.account_of(vfolder)
    if soft is None or account is None:
        return None
    growth = soft.ask(lambda: soft.ledger.growth_mark(account.name))
    return VFolderCount(soft, account, growth)


def account_name(vfolder: VFolderId) -> str:
    """Return the name of a vfolder's account in the ledger of its volume."""
    scope = vfolder.scope.directory if vfolder.scope else "."
    return f"{scope}/{vfolder.id.hex}"


def ledger_of(backend: Backend) -> SoftQuota | None:
    """Return what this service limits on a backend's volume; None where it limits nothing."""
    return backend.skill(SoftQuota)


def soft_of(backend: Backend) -> SoftQuota | None:
    """Return the soft limits of a volume's scopes; None where this service enforces none."""
    soft = ledger_of(backend)
    return soft if soft is not None and soft.holds_scopes else None


def limit_of(backend: Backend, scope: QuotaScope | None) -> int | None:
    """Return the soft limit of a scope in bytes; None when there is none."""
    soft = soft_of(backend)
    return None if scope is None or soft is None else soft.limit(scope)


def reserve(
    backend: Backend, place: Place, holder: str, size_bytes: int | Callable[[], int]
) -> None:
    """Reserve space for a holder (an upload, a job), in place of its reservation before.

    A function for the size is called only where a limit is set.

    A reservation ends with `settle`, or a day after it was last made. Costs one round trip where a
    limit is set. What was never counted is counted first, if that takes at most two seconds.

    Raises:
        QuotaExceeded: scope or vfolder has not so many bytes left; the detail says how many.
        StoreUnavailable: the ledger does not answer, or refuses.
    """
    soft = ledger_of(backend)
    if soft is None:
        return
    accounts = soft.accounts(place)
    if accounts:
        wanted = size_bytes() if callable(size_bytes) else size_bytes
        soft.reserve(accounts, holder, wanted)


def settle(
    backend: Backend,
    place: Place,
    holder: str,
    change_bytes: int = 0,
    *,
    as_reserved: bool = False,
    since_ms: int | None = None,
) -> None:
    """End a reservation and record what a place gained or lost; never refuses.

    The change is recorded once for this holder, though a job that died settles again. With
    `as_reserved` it gained what is reserved: for a process that does not know what its predecessor
    replaced. `since_ms` is when a removal began, by the store's clock (`removal_began` or the start
    of a job): a count that ended since then may have seen the loss, so the loss is not subtracted.
    """
    soft = ledger_of(backend)
    if soft is None:
        return
    try:
        accounts = soft.accounts(place)
    except (OSError, StorageError) as error:  # the change is made; a rescan corrects the figure
        _log.warning("quota limit not read", reason=type(error).__name__)
        return
    if accounts:  # without a limit no figure is kept
        soft.settle(accounts, holder, change_bytes, as_reserved=as_reserved, since_ms=since_ms)


def is_counted(backend: Backend, place: Place) -> bool:
    """Return whether the ledger must know what a removal from a place frees."""
    soft = ledger_of(backend)
    return soft is not None and bool(soft.accounts(place))


def removal_began(backend: Backend) -> int | None:
    """Return the store's time (ms) before a removal, for `settle`; None when it is not known.

    Costs one round trip; a job has the time of its start instead.
    """
    soft = ledger_of(backend)
    return None if soft is None else soft.clock_ms()


@contextmanager
def settled_removal(backend: Backend, place: Place) -> Iterator[list[int]]:
    """Give a list for the bytes that the block frees, and record their sum, however it ends."""
    freed: list[int] = []
    if not is_counted(backend, place):
        yield freed
        return
    since_ms = removal_began(backend)
    try:
        yield freed
    finally:
        if any(freed):
            settle(backend, place, str(uuid4()), -sum(freed), since_ms=since_ms)


def size_of(path: str, dir_fd: int) -> int:
    """Return the bytes that the removal of one entry frees: what a file holds, at its last name."""
    try:
        return freed_bytes(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), dir_fd)
    except OSError:
        return 0
