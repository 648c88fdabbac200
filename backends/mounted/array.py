"""Mounted volumes of an array that is asked by REST, for its health and for limits.

With `ArrayQuotaBackend` a quota scope is a directory at the top of the mount, and an object of the
array by the same name. A scope that is being made is recorded first (`.vfolder/limits/<scope>`).
After a death the next process continues with what exists, so that making it twice ends as making it
once. Changes of one scope are serialized over all nodes.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import PurePosixPath
from time import monotonic
from typing import ClassVar, NamedTuple
from uuid import uuid4

from backends.base import Enforcement, Exceeded, HardwareInfo, HardwareStatus, Mount, QuotaUsage
from backends.fs import descriptors, layout
from backends.mounted import scope_lock
from backends.mounted.limits import LimitedBackend
from backends.mounted.posix import PosixBackend, check_limit
from backends.mounted.rest import Busy, Lost, deadline, jobs
from backends.quota import requested_limits
from core.errors import (
    AccessRefused,
    BackendFailed,
    Conflict,
    DeadlineExceeded,
    QuotaScopeExists,
    QuotaScopeNotFound,
    StorageError,
)
from core.names import QuotaScope
from core.telemetry import logger

#: Seconds that a check of the array's state may take: volumes are proved all the time.
STATES_SECONDS = 3.0
#: Begins the name of the directory by which a mount is recognised.
_MARK = "volume-"
#: Seconds between checks for a new directory: the attribute cache of an NFS client may hide it.
_LOOK_SECONDS = 0.1
#: An array counts gradually what a directory with a new limit holds; wait this long (seconds).
_COUNTING_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 1.0
_log = logger(__name__)


class ArrayBackend(PosixBackend):
    """A mounted volume whose array is asked for its health; a failure is a status, never raised."""

    def __init__(self, mount: Mount, deadline_seconds: float) -> None:
        super().__init__(mount)
        self._deadline_seconds = deadline_seconds

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: the state of the mount, then that of the array."""
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
        """Ask the array for its health."""

    def _within_deadline(self) -> AbstractContextManager[None]:
        """Return a context whose requests to the array end with the deadline of the call."""
        return deadline.within(self._deadline_seconds)

    def _prove(self, root: int) -> None:
        """Prove that the array serves this mount, where the array can be asked: nothing."""

    @contextmanager
    def _alone(self, number: int, what: str, seconds: float) -> Iterator[int]:
        """Open the volume's top, which the array serves, with the lock of a number held.

        `what` names the number in the error. The block ends within this many seconds.
        """
        with (
            deadline.within(seconds),
            self._explained(),
            self.root() as root,
            scope_lock.alone(root, number, what),
        ):
            self._prove(root)
            yield root

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise an error that explains missing rights on the mount."""
        try:
            yield
        except PermissionError:
            raise AccessRefused(
                f"This service has no right to change what it needs on volume {self.mount.volume}.",
            ) from None


class ArrayUsage(NamedTuple):
    """The array's figures of a scope; None is unknown, or no limit.

    `enforced` is None while the array has a limit and does not enforce it yet.
    """

    used_bytes: int | None = None
    limit_bytes: int | None = None
    enforced: Enforcement | None = "hard"
    soft_limit_bytes: int | None = None
    used_inodes: int | None = None
    limit_inodes: int | None = None
    exceeded: Exceeded | None = None


class ArrayQuotaBackend(ArrayBackend, LimitedBackend):
    """Quota scopes whose limits the array enforces.

    A subclass asks the array through the abstract methods below, by the name of a directory. Each
    of them may be called again after a death at any point, and then has the same result.
    """

    #: Seconds that the making of a scope may take beyond the deadline of other calls.
    making_seconds: float = 0.0
    #: The capabilities that `_available` reports, beside `quota`.
    doubtful: ClassVar[tuple[str, ...]] = ()

    def __init__(self, mount: Mount, deadline_seconds: float) -> None:
        super().__init__(mount, deadline_seconds)
        self._proved: tuple[int, int] | None = None
        #: Whether the array itself was asked for the proof: some old releases cannot be asked.
        self._certain = False

    def _make_directory(self, root: int, name: str) -> None:
        """Make the scope's directory, by the array or on the mount; an existing one is fine."""
        with suppress(FileExistsError):
            os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=root)
            descriptors.inherit_owner(name, root)

    def _make_limited(self, root: int, name: str, limit_bytes: int | None) -> None:
        """Make the scope's directory with its limit; in two steps, where the array needs two."""
        self._make_directory(root, name)
        self._apply_limit(name, limit_bytes)

    @abstractmethod
    def _usage(self, name: str) -> ArrayUsage:
        """Return what the array counts and enforces now."""

    @abstractmethod
    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set a limit, already rounded, or remove it; it is in force when this returns."""

    @abstractmethod
    def _remove_objects(self, name: str) -> bool:
        """Remove the array's objects of a removed directory; return whether there were any."""

    @abstractmethod
    def _has_directory(self, path: str) -> bool | None:
        """Return whether the array has a directory at this path of the volume; None: unknown."""

    @abstractmethod
    def _available(self) -> Mapping[str, bool]:
        """Return for each capability in doubt whether the array has it; costs one request."""

    def probe(self) -> str:
        """See `Backend.probe`: proves too that the array serves this mount, and prepares it.

        The volume keeps working while the array's interface is away.
        """
        fsid = super().probe()
        with suppress(Busy, Lost, DeadlineExceeded), deadline.within(STATES_SECONDS):
            with self._explained(), self.root() as root:
                self._prove(root)
            self._prepare()
        return fsid

    def _prepare(self) -> None:
        """Make the array ready for limits, where that takes only a moment: nothing."""

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        return "quota" not in self.lacking()

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`: all that needs the array, while it does not answer."""
        available: Mapping[str, bool] = {}
        with suppress(StorageError), deadline.within(STATES_SECONDS):
            with self._explained(), self.root() as root:
                self._prove(root)
            available = self._available()
        doubtful = {"quota", *self.doubtful}
        return frozenset(name for name in doubtful if not available.get(name, False))

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`; completes a scope whose creation was interrupted."""
        check_limit(limit_bytes)
        with self._locked(scope) as root:
            if _exists(root, scope) and not _unfinished(root, scope):
                raise QuotaScopeExists(f"Quota scope {scope} is already there.")
            self._make(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: two requests at most, no walk."""
        with self._within_deadline(), self.open_scope(scope), self.root() as root:
            usage = self._usage(scope.directory)
            found = QuotaUsage(**usage._asdict())
            return self._with_request(root, scope, found)

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`.

        Raises:
            Conflict: the array cannot limit this directory; the detail has its message.
        """
        check_limit(limit_bytes)
        with self._locked(scope) as root:
            if not _exists(root, scope) or _unfinished(root, scope):
                self._make(root, scope, limit_bytes)
                return
            self._apply_limit(scope.directory, self.effective_limit(limit_bytes))
            requested_limits.settle(root, scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        with self._locked(scope) as root, self.open_scope(scope):
            self._apply_limit(scope.directory, None)
            requested_limits.settle(root, scope, None)

    def _change_existing(
        self, scope: QuotaScope, change: Callable[[str], None], **requested: int | None
    ) -> None:
        """Change a scope that exists completely, and keep what was requested.

        `change` gets the name of the scope's directory.

        Raises:
            QuotaScopeNotFound: the scope does not exist, or its creation was interrupted.
        """
        with self._locked(scope) as root:
            if not _exists(root, scope) or _unfinished(root, scope):
                raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.")
            change(scope.directory)
            requested_limits.change(root, scope, **requested)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`; removes the array's objects of a missing directory, too.

        rmdir(2) decides whether the scope is empty, in the moment of its removal.
        """
        with self._locked(scope) as root:
            exists = _exists(root, scope)
            if exists:
                super().delete_scope(scope)
            else:
                self._check_gone(scope.directory)
            known = (
                self._remove_objects(scope.directory)
                or requested_limits.find(root, scope) is not None
            )
            requested_limits.forget(root, scope)
            if not exists and not known:
                raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.")

    def _prove(self, root: int) -> None:
        """Prove that the array serves this mount: it must know a directory that is made here.

        Costs one request per mount. A volume that may not be changed and has no such directory yet
        is not proved.

        Raises:
            BackendFailed: the array does not know the directory.
        """
        status = os.fstat(root)
        if self._proved == (status.st_dev, status.st_ino):
            return
        mark = _known_mark(root) if self.mount.read_only else _mark(root)
        if mark is None:
            return
        found = self._has_directory(f"{layout.HIDDEN}/{mark}")
        if found is False:
            raise BackendFailed(
                f"What is mounted for volume {self.mount.volume} is not the array's volume that "
                "its options name, or not the top of it.",
            )
        self._proved, self._certain = (status.st_dev, status.st_ino), found is True

    def _check_gone(self, name: str) -> None:
        """Keep the array's objects of a directory that the mount does not show and the array has.

        Raises:
            BackendFailed: the array has it.
        """
        if self._has_directory(name):
            raise BackendFailed(
                "The mount does not show the quota scope, and the array still has its directory. "
                "Nothing was removed; is this the volume that is mounted?"
            )

    def _make(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        requested_limits.keep(
            root, scope, requested_limits.RequestedLimit(limit_bytes or 0, adopting=True)
        )
        rounded = None if limit_bytes is None else self.effective_limit(limit_bytes)
        self._make_limited(root, scope.directory, rounded)
        os.fsync(root)
        requested_limits.settle(root, scope, limit_bytes)

    def _is_empty(self, name: str) -> bool:
        """Return whether a scope's directory holds nothing."""
        with self.root() as root, descriptors.opened(name, root) as directory:
            return not os.listdir(directory)

    def _remove_by_array(self, parent: int, name: str, remove: Callable[[str], None]) -> None:
        """Let the array remove a tree in the trash; it has the time of one operation.

        Its failure is logged: the service removes what remains. `remove` gets the path of the tree
        below the volume. It is not called where the array could not prove that it serves this
        mount.
        """
        top = os.path.realpath(self.mount.path)
        below = os.path.relpath(os.readlink(f"/proc/self/fd/{parent}"), top)
        if below.startswith(".."):
            return
        try:
            with self._within_deadline(), self.root() as root:
                self._prove(root)
                if self._certain:
                    remove(f"{below}/{name}")
        except StorageError as error:
            _log.warning("the array did not remove a tree", reason=error.detail)

    def _locked(self, scope: QuotaScope) -> AbstractContextManager[int]:
        """Open the volume's top with the scope locked, as `_alone` does."""
        seconds = self._deadline_seconds + self.making_seconds
        return self._alone(scope.id.int, f"Quota scope {scope}", seconds)


def await_directory(root: int, path: str | Callable[[], PurePosixPath], seconds: float) -> None:
    """Wait until the mount shows a directory that the array reports as made.

    `path` may return another path each time, where the name on the mount is not certain. It may
    raise FileNotFoundError while there is none.

    Raises:
        Conflict: the directory is not visible after `seconds`.
        DeadlineExceeded: the deadline of the call comes first.
    """

    def shown() -> bool:
        with suppress(FileNotFoundError):
            return descriptors.exists(path() if callable(path) else PurePosixPath(path), root)
        return False

    _await(shown, "directory", seconds)


def await_entry(root: int, path: str, seconds: float) -> None:
    """Wait as `await_directory` does, for an entry in a directory of this service."""

    def shown() -> bool:
        with suppress(FileNotFoundError):
            os.stat(path, dir_fd=root, follow_symlinks=False)
            return True
        return False

    _await(shown, "file", seconds)


def _await(shown: Callable[[], bool], what: str, seconds: float) -> None:
    waited = 0.0
    while not shown():
        if waited >= seconds:
            raise Conflict(
                f"The array has made the {what}, and the mount does not show it. Is this the "
                "volume that is mounted? Is its attribute cache longer than we wait?",
            )
        deadline.rest(_LOOK_SECONDS)
        waited += _LOOK_SECONDS


def await_limit(counted: Callable[[], bool | None]) -> None:
    """Wait until a limit is in force and, if that is fast, until the content is counted.

    `counted` returns None while the limit is not in force, then whether the content is counted.

    Raises:
        DeadlineExceeded: the deadline of the call comes first.
    """
    began = monotonic()

    def settled() -> bool:
        found = counted()
        return found is not None and (found or monotonic() - began > _COUNTING_SECONDS)

    jobs.wait(settled, _LONGEST_PAUSE_SECONDS)


def _known_mark(root: int) -> str | None:
    """Return the name of a directory that no other volume has; None where none was made yet."""
    names = descriptors.names(layout.HIDDEN, root)
    return next((name for name in names if name.startswith(_MARK)), None)


def _mark(root: int) -> str:
    """Do as `_known_mark`; make the directory where it is missing."""
    path = PurePosixPath(layout.HIDDEN)
    with descriptors.made(path, root, descriptors.HIDDEN_MODE) as hidden:
        name = _known_mark(root)
        if name is None:
            name = f"{_MARK}{uuid4().hex}"
            os.mkdir(name, descriptors.HIDDEN_MODE, dir_fd=hidden)
    return name


def _exists(root: int, scope: QuotaScope) -> bool:
    return descriptors.exists(PurePosixPath(scope.directory), root)


def _unfinished(root: int, scope: QuotaScope) -> bool:
    limit = requested_limits.find(root, scope)
    return limit is not None and limit.adopting
