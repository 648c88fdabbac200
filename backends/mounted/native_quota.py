"""Mounted backends whose storage system holds a limit per quota scope; the parent of each.

A scope is made aside (`.vfolder/making`), gets its limit there, and appears by one rename: whole
or not at all, and whoever comes after a death goes on with what is there. Acts on scopes are one
at a time per volume, by a lock on the volume's own room.
"""

import errno
import fcntl
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar, NamedTuple

from backends.base import QuotaUsage
from backends.fs import descriptors, layout
from backends.mounted.posix import PosixBackend, check_limit
from backends.quota import requested_limits
from core.errors import BackendFailed, QuotaScopeExists, QuotaScopeNotFound
from core.names import QuotaScope

#: Clients and kernels count in signed 64-bit numbers.
LIMIT_MAX_BYTES = 2**63 - 1
_NOT_HERE = frozenset({errno.ESRCH, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTCONN})


class NativeUsage(NamedTuple):
    """What the storage system counts and holds."""

    used_bytes: int | None
    limit_bytes: int | None


class NativeQuotaBackend(PosixBackend):
    """The acts on scopes; the storage system is asked through the methods that `_` marks abstract.

    A *counter* is what the storage system counts a scope by: a project id, a subvolume's id; 0
    says that the directory has none.
    """

    #: What it takes to set limits, as the end of a sentence.
    rights: ClassVar[str] = "setting limits needs root (CAP_SYS_ADMIN)"

    @abstractmethod
    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`."""
        return frozenset() if self.enforces_quota() else frozenset({"quota"})

    @abstractmethod
    def _limit_unit(self) -> int:
        """Limits are multiples of this many bytes."""

    @abstractmethod
    def _counter_of(self, directory: int) -> int:
        """By what a directory is counted."""

    @abstractmethod
    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        """Have an empty directory counted; one that is already keeps its counter."""

    @abstractmethod
    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        """Have a directory and all it holds counted; goes on where another stopped."""

    @abstractmethod
    def _usage(self, directory: int, counter: int) -> NativeUsage:
        """What is counted and held now."""

    @abstractmethod
    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        """Set a limit, already rounded, or take it away."""

    def _check_adoptable(self, directory: int, scope: QuotaScope) -> None:
        """Refuse what cannot be counted, before anything is changed."""

    def _unprivileged_usage(self, root: int, directory: int) -> NativeUsage:
        """What is counted and held, as far as everybody may see it."""
        del root, directory
        return NativeUsage(None, None)

    def _make_directory(self, name: str, parent: int) -> None:
        """Make the directory of a scope; one that is there is fine."""
        with suppress(FileExistsError):
            os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=parent)

    def _after_delete(self, root: int, counter: int, scope: QuotaScope) -> None:
        """Tidy up after a scope's directory went; 0 when its counter is not known any more."""

    def effective_limit(self, limit_bytes: int) -> int:
        """See `HasQuota.effective_limit`."""
        granule = self._limit_unit()
        return min(-(-limit_bytes // granule), LIMIT_MAX_BYTES // granule) * granule

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        check_limit(limit_bytes)
        with self._locked() as root:
            if descriptors.exists(PurePosixPath(scope.directory), root):
                raise QuotaScopeExists(f"Quota scope {scope} is already there.")
            self._make(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: a few system calls, no walk.

        A scope that is not counted (made by somebody else) is unknown until it gets a limit.
        """
        with self._explained(), self.open_scope(scope) as directory, self.root() as root:
            counter = self._counter_of(directory)
            if not counter:
                return QuotaUsage()
            try:
                found = self._usage(directory, counter)
            except PermissionError:
                found = self._unprivileged_usage(root, directory)
            if found.limit_bytes is None:
                return QuotaUsage(used_bytes=found.used_bytes)
            return QuotaUsage(
                used_bytes=found.used_bytes,
                limit_bytes=found.limit_bytes,
                requested_bytes=requested_limits.requested(
                    root, scope, found.limit_bytes, self.effective_limit
                ),
                enforced="hard",
            )

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`; a tree that is not counted yet is taken over, all of it.

        Costs a few calls for a scope of ours, and a walk for one that somebody else made.
        """
        check_limit(limit_bytes)
        with self._locked() as root:
            if not descriptors.exists(PurePosixPath(scope.directory), root):
                self._make(root, scope, limit_bytes)
                return
        self.adopt_scope(scope, limit_bytes)

    def adopt_scope(
        self, scope: QuotaScope, limit_bytes: int, seen: Callable[[], None] = lambda: None
    ) -> None:
        """Have all counted that a scope holds, and limit it; goes on where another stopped.

        `seen` is called for each entry of a tree that is taken over, and may raise to stop; other
        acts on the volume's scopes need not wait meanwhile.

        Raises:
            QuotaScopeNotFound: it does not exist.
            Conflict: it cannot be counted here.
        """
        check_limit(limit_bytes)
        with self._locked() as root, self.open_scope(scope) as directory:
            todo = self._begin_adoption(root, directory, scope, limit_bytes)
        if todo:
            with self._explained(), self.open_scope(scope) as directory:
                self._adopt_tree(directory, scope, seen)
        with self._locked() as root, self.open_scope(scope) as directory:
            self._limit(root, directory, self._counter_of(directory), limit_bytes)
            requested_limits.settle(root, scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`; the scope is counted as before."""
        with self._locked() as root, self.open_scope(scope) as directory:
            counter = self._counter_of(directory)
            if counter:
                self._limit(root, directory, counter, None)
            requested_limits.forget(root, scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        with self._locked() as root:
            counter = 0
            try:
                with self.open_scope(scope) as directory:
                    counter = self._counter_of(directory)
                super().delete_scope(scope)
            except QuotaScopeNotFound:  # somebody may have died before he tidied up
                self._tidy(root, counter, scope)
                raise
            self._tidy(root, counter, scope)

    def _tidy(self, root: int, counter: int, scope: QuotaScope) -> None:
        requested_limits.forget(root, scope)
        self._after_delete(root, counter, scope)

    def _make(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        name, room = scope.directory, layout.area(None, layout.MAKING)
        with descriptors.made(room, root, descriptors.HIDDEN_MODE) as aside:
            self._make_directory(name, aside)  # or somebody died here, and his goes on
            descriptors.inherit_owner(name, aside)
            with descriptors.opened(name, aside) as directory:
                counter = self._start_counting(directory, scope)
                self._limit(root, directory, counter, limit_bytes)
                requested_limits.settle(root, scope, limit_bytes)
            try:
                descriptors.rename_new(name, aside, name, root)
            except FileExistsError:  # by somebody who does not know our lock
                os.rmdir(name, dir_fd=aside)
                raise QuotaScopeExists(f"Quota scope {scope} is already there.") from None

    def _begin_adoption(
        self, root: int, directory: int, scope: QuotaScope, limit_bytes: int
    ) -> bool:
        """Whether there is a tree to take over; if so that is marked, for whoever comes next."""
        wish = requested_limits.find(root, scope)
        if self._counter_of(directory) and not (wish and wish.adopting):
            requested_limits.settle(root, scope, limit_bytes)
            return False
        self._check_adoptable(directory, scope)
        requested_limits.keep(
            root, scope, requested_limits.RequestedLimit(limit_bytes, adopting=True)
        )
        return True

    def _limit(self, root: int, directory: int, counter: int, limit_bytes: int | None) -> None:
        wanted = self.effective_limit(limit_bytes) if limit_bytes else None
        self._apply_limit(root, directory, counter, wanted)
        held = self._usage(directory, counter).limit_bytes
        if held != wanted:
            raise BackendFailed(f"The storage system holds a limit of {held} bytes, not {wanted}.")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The volume's top, with nobody else at work on scopes."""
        with self._explained(), self.root() as root:
            room = PurePosixPath(layout.HIDDEN)
            with descriptors.made(room, root, descriptors.HIDDEN_MODE) as ours:
                fcntl.flock(ours, fcntl.LOCK_EX)
                yield root

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in our words that quota needs rights, or is off."""
        try:
            yield
        except PermissionError:
            raise BackendFailed(
                f"The storage system refuses this service the quota of volume {self.mount.volume}; "
                f"{self.rights}.",
            ) from None
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            raise BackendFailed(f"Volume {self.mount.volume} does not enforce quota now.") from None
