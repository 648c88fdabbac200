"""Mounted volumes whose array is asked for limits by REST; the parent of each such backend.

A quota scope is a directory at the top of the mount and an object of the array by the same name. A
scope that is being made is noted first (`.vfolder/limits/<scope>`): whoever comes after a death
goes on with what is there, so that making it again ends as making it once. Acts on one scope are
one at a time, whichever node they come from.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar, NamedTuple
from uuid import uuid4

from backends.base import HardwareInfo, HardwareStatus, Mount, QuotaUsage
from backends.fs import descriptors, layout
from backends.mounted.posix import PosixBackend, check_limit
from backends.quota import requested_limits, scope_lock
from backends.rest import Busy, Lost, deadline
from core.errors import (
    BackendFailed,
    Conflict,
    DeadlineExceeded,
    QuotaScopeExists,
    QuotaScopeNotFound,
    StorageError,
)
from core.names import QuotaScope

#: Clients and kernels count in signed 64-bit numbers.
LIMIT_MAX_BYTES = 2**63 - 1
#: What a look at the array's states may take: volumes are proved, and skills named, all the time.
STATES_SECONDS = 3.0
#: Begins the name by which a mount is recognised.
_MARK = "volume-"
#: A new directory may be hidden by the attribute cache of an NFS client: seconds between looks.
_LOOK_SECONDS = 0.1


class ArrayBackend(PosixBackend):
    """A mounted volume whose array is asked for its health; never raises for that."""

    def __init__(self, mount: Mount, deadline_seconds: float) -> None:
        super().__init__(mount)
        self._deadline_seconds = deadline_seconds

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: what the mount says, then what the array says."""
        try:
            PosixBackend.probe(self)
        except StorageError as error:
            return HardwareInfo(HardwareStatus.OFFLINE, error.detail)
        try:
            with self._within_deadline():
                return self._health()
        except StorageError as error:
            return HardwareInfo(HardwareStatus.UNAVAILABLE, error.detail)

    @abstractmethod
    def _health(self) -> HardwareInfo:
        """Ask the array how it is."""

    def _within_deadline(self) -> AbstractContextManager[None]:
        """Everything that an act asks the array ends with the act's deadline."""
        return deadline.within(self._deadline_seconds)


class ArrayUsage(NamedTuple):
    """What the array counts and holds for a scope; None is unknown, or no limit.

    `enforced` is false while the array has a limit and does not hold anybody to it (yet).
    """

    used_bytes: int | None = None
    limit_bytes: int | None = None
    enforced: bool = True


class ArrayQuotaBackend(ArrayBackend):
    """The acts on scopes; the array is asked through the methods below, by directory name.

    Each of them is done again after a death at any point, and ends the same.
    """

    #: How much longer than other acts the making of a scope may take, in seconds.
    making_seconds: float = 0.0
    #: What `_available` tells of, beside `quota`.
    doubtful: ClassVar[tuple[str, ...]] = ()

    def __init__(self, mount: Mount, deadline_seconds: float) -> None:
        super().__init__(mount, deadline_seconds)
        self._proved: tuple[int, int] | None = None

    @abstractmethod
    def _limit_unit(self) -> int:
        """Limits are multiples of this many bytes."""

    @abstractmethod
    def _make_directory(self, root: int, name: str) -> None:
        """Have the scope's directory made, wherever that has to be asked for; there is fine."""

    @abstractmethod
    def _usage(self, name: str) -> ArrayUsage:
        """What is counted and held now."""

    @abstractmethod
    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set a limit, already rounded, or take it away, so that it is held when this returns."""

    @abstractmethod
    def _remove_objects(self, name: str) -> bool:
        """Take the array's objects away once the directory is; whether there were any."""

    @abstractmethod
    def _has_directory(self, path: str) -> bool:
        """Whether the array has a directory at that path of the volume."""

    @abstractmethod
    def _available(self) -> Mapping[str, bool]:
        """Capabilities that the array may have or not, and whether it has them; at one request."""

    def probe(self) -> str:
        """See `Backend.probe`: also that the array serves what is mounted, and is as we need it.

        An interface that is away for a while does not take the volume away.
        """
        found = super().probe()
        with suppress(Busy, Lost, DeadlineExceeded), deadline.within(STATES_SECONDS):
            with self._explained(), self.root() as root:
                self._prove(root)
            self._prepare()
        return found

    def _prepare(self) -> None:
        """Make the array ready for limits, where that can be done in a moment: nothing."""

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        return "quota" not in self.lacking()

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`; all that needs the array while it does not answer."""
        skills: Mapping[str, bool] = {}
        with suppress(StorageError), deadline.within(STATES_SECONDS):
            with self._explained(), self.root() as root:
                self._prove(root)
            skills = self._available()
        doubtful = {"quota", *self.doubtful}
        return frozenset(name for name in doubtful if not skills.get(name, False))

    def effective_limit(self, limit_bytes: int) -> int:
        """See `HasQuota.effective_limit`."""
        granule = self._limit_unit()
        return min(-(-limit_bytes // granule), LIMIT_MAX_BYTES // granule) * granule

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`; one that somebody died while making is made whole."""
        check_limit(limit_bytes)
        with self._locked(scope) as root:
            if _is_there(root, scope) and not _unfinished(root, scope):
                raise QuotaScopeExists(f"Quota scope {scope} is already there.")
            self._make(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: two requests at most, no walk."""
        with self._within_deadline(), self.open_scope(scope), self.root() as root:
            found = self._usage(scope.directory)
            if found.limit_bytes is None:
                return QuotaUsage(used_bytes=found.used_bytes)
            return QuotaUsage(
                used_bytes=found.used_bytes,
                limit_bytes=found.limit_bytes,
                requested_bytes=requested_limits.requested(
                    root, scope, found.limit_bytes, self.effective_limit
                ),
                enforced="hard" if found.enforced else None,
            )

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`.

        Raises:
            Conflict: the array cannot limit this directory; its words are in the detail.
        """
        check_limit(limit_bytes)
        with self._locked(scope) as root:
            if not _is_there(root, scope) or _unfinished(root, scope):
                self._make(root, scope, limit_bytes)
                return
            self._apply_limit(scope.directory, self.effective_limit(limit_bytes))
            requested_limits.keep(root, scope, requested_limits.RequestedLimit(limit_bytes))

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        with self._locked(scope) as root, self.open_scope(scope):
            self._apply_limit(scope.directory, None)
            requested_limits.forget(root, scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`; what the array keeps of one whose directory went goes too.

        Whether the scope is empty is decided by rmdir(2), in the very moment it goes.
        """
        with self._locked(scope) as root:
            there = _is_there(root, scope)
            if there:
                super().delete_scope(scope)
            known = (
                self._remove_objects(scope.directory)
                or requested_limits.find(root, scope) is not None
            )
            requested_limits.forget(root, scope)
            if not there and not known:
                raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.")

    def _prove(self, root: int) -> None:
        """That the array serves what is mounted: it knows a name that we put there.

        Costs a request once per mount.
        """
        found = os.fstat(root)
        if self._proved == (found.st_dev, found.st_ino):
            return
        with descriptors.made(PurePosixPath(layout.HIDDEN), root, descriptors.HIDDEN_MODE) as room:
            mark = _mark(room)
        if not self._has_directory(f"{layout.HIDDEN}/{mark}"):
            raise BackendFailed(
                f"What is mounted for volume {self.mount.volume} is not the array's volume that "
                "its options name, or not the top of it.",
            )
        self._proved = (found.st_dev, found.st_ino)

    def _make(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        self._prove(root)
        requested_limits.keep(
            root, scope, requested_limits.RequestedLimit(limit_bytes or 0, adopting=True)
        )
        self._make_directory(root, scope.directory)
        wanted = None if limit_bytes is None else self.effective_limit(limit_bytes)
        self._apply_limit(scope.directory, wanted)
        os.fsync(root)
        requested_limits.settle(root, scope, limit_bytes)

    @contextmanager
    def _locked(self, scope: QuotaScope) -> Iterator[int]:
        """The volume's top, with nobody else at work on the scope, until the deadline."""
        seconds, what = self._deadline_seconds + self.making_seconds, f"Quota scope {scope}"
        with (
            deadline.within(seconds),
            self._explained(),
            self.root() as root,
            scope_lock.alone(root, scope.id.int, what),
        ):
            yield root

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in our words that rights are missing."""
        try:
            yield
        except PermissionError:
            raise BackendFailed(
                f"This service has no right to change quota scopes of volume {self.mount.volume}.",
            ) from None


def await_directory(root: int, name: str, seconds: float) -> None:
    """Wait until the mount shows a directory that the array says it has made.

    Raises:
        Conflict: it does not, although everything was waited for that was allowed.
        DeadlineExceeded: the act's own deadline comes first.
    """
    waited = 0.0
    while not descriptors.exists(PurePosixPath(name), root):
        if waited >= seconds:
            raise Conflict(
                "The array has made the quota scope, and the mount does not show it. Is this the "
                "volume that is mounted? Is its attribute cache longer than we wait?",
            )
        deadline.rest(_LOOK_SECONDS)
        waited += _LOOK_SECONDS


def _mark(room: int) -> str:
    """The name of a directory that no other volume has; made when it is missing."""
    for name in os.listdir(room):
        if name.startswith(_MARK):
            return name
    name = f"{_MARK}{uuid4().hex}"
    os.mkdir(name, descriptors.HIDDEN_MODE, dir_fd=room)
    return name


def _is_there(root: int, scope: QuotaScope) -> bool:
    return descriptors.exists(PurePosixPath(scope.directory), root)


def _unfinished(root: int, scope: QuotaScope) -> bool:
    wish = requested_limits.find(root, scope)
    return wish is not None and wish.adopting
