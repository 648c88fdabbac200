"""Mounted volumes whose storage system enforces a limit per quota scope.

A scope is made in a hidden directory (`.vfolder/making`), gets its limit there, and appears by one
rename: complete or not at all. After a death the next process continues with what exists. Changes
of scopes are serialized per volume, by a lock on the volume's own hidden directory.
"""

import errno
import fcntl
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar, NamedTuple

from backends.base import Enforcement, QuotaUsage
from backends.fs import descriptors, layout
from backends.mounted.limits import LimitedBackend
from backends.mounted.posix import check_limit
from backends.quota import requested_limits
from core.errors import AccessRefused, BackendFailed, QuotaScopeExists, QuotaScopeNotFound
from core.names import QuotaScope

_NOT_HERE = frozenset({errno.ESRCH, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTCONN})


class NativeUsage(NamedTuple):
    """What the storage system counts and enforces."""

    used_bytes: int | None
    limit_bytes: int | None
    enforced: Enforcement = "hard"
    soft_limit_bytes: int | None = None
    used_inodes: int | None = None
    limit_inodes: int | None = None


class NativeQuotaBackend(LimitedBackend):
    """Quota scopes whose limits the storage system enforces.

    A subclass asks the storage system through the abstract methods below. A *counter* is the number
    by which the storage system counts a scope: a project id, a subvolume's id. 0 means that the
    directory has none.
    """

    #: The rights that setting limits needs, as the end of a sentence.
    rights: ClassVar[str] = "setting limits needs root (CAP_SYS_ADMIN)"
    #: The capabilities that are lacking where no limits are enforced, beside `quota`.
    of_limits: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`."""
        return frozenset() if self.enforces_quota() else frozenset({"quota", *self.of_limits})

    @abstractmethod
    def _counter_of(self, directory: int) -> int:
        """Return the counter of a directory; 0 when it has none."""

    @abstractmethod
    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        """Give an empty directory a counter and return it; a counted one keeps its counter."""

    @abstractmethod
    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        """Count a directory and all it holds; continue an interrupted adoption."""

    @abstractmethod
    def _usage(self, directory: int, counter: int) -> NativeUsage:
        """Return what the storage system counts and enforces now."""

    @abstractmethod
    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        """Set a limit, already rounded, or remove it."""

    def _check_adoptable(self, directory: int, scope: QuotaScope) -> None:
        """Refuse a directory that cannot be counted, before anything is changed."""

    def _unprivileged_usage(self, root: int, directory: int) -> NativeUsage:
        """Return what a process without rights may see of the figures: nothing."""
        del root, directory
        return NativeUsage(None, None)

    def _make_directory(self, name: str, parent: int) -> None:
        """Make the directory of a scope; an existing one is fine."""
        with suppress(FileExistsError):
            os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=parent)

    def _after_delete(self, root: int, counter: int, scope: QuotaScope) -> None:
        """Clean up after a scope's directory was removed; `counter` is 0 when it is unknown."""

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        check_limit(limit_bytes)
        with self._locked() as root:
            if descriptors.exists(PurePosixPath(scope.directory), root):
                raise QuotaScopeExists(f"Quota scope {scope} is already there.")
            self._make(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: a few system calls, no walk.

        The usage of a scope without a counter (another tool made it) is unknown until it gets a
        limit.
        """
        with self._explained(), self.open_scope(scope) as directory, self.root() as root:
            counter = self._counter_of(directory)
            if not counter:
                return QuotaUsage()
            try:
                usage = self._usage(directory, counter)
            except PermissionError:
                usage = self._unprivileged_usage(root, directory)
            return self._with_request(root, scope, QuotaUsage(**usage._asdict()))

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`; adopts a tree that is not counted yet.

        Costs a few calls for a scope of ours, and a walk for one that another tool made.
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
        """See `HasAdoption.adopt_scope`."""
        check_limit(limit_bytes)
        with self._locked() as root, self.open_scope(scope) as directory:
            needs_walk = self._begin_adoption(root, directory, scope, limit_bytes)
        if needs_walk:
            with self._explained(), self.open_scope(scope) as directory:
                self._adopt_tree(directory, scope, seen)
        with self._locked() as root, self.open_scope(scope) as directory:
            self._limit(root, directory, self._counter_of(directory), limit_bytes)
            requested_limits.settle(root, scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`; the scope keeps its counter."""
        with self._locked() as root, self.open_scope(scope) as directory:
            counter = self._counter_of(directory)
            if counter:
                self._limit(root, directory, counter, None)
            requested_limits.settle(root, scope, None)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        with self._locked() as root:
            counter = 0
            try:
                with self.open_scope(scope) as directory:
                    counter = self._counter_of(directory)
                super().delete_scope(scope)
            except QuotaScopeNotFound:  # a process may have died before it cleaned up
                self._clean_up(root, counter, scope)
                raise
            self._clean_up(root, counter, scope)

    def _clean_up(self, root: int, counter: int, scope: QuotaScope) -> None:
        requested_limits.forget(root, scope)
        self._after_delete(root, counter, scope)

    def _make(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        name, hidden = scope.directory, layout.area(None, layout.MAKING)
        with descriptors.made(hidden, root, descriptors.HIDDEN_MODE) as making:
            self._make_directory(name, making)  # it may exist, from a process that died here
            descriptors.inherit_owner(name, making)
            with descriptors.opened(name, making) as directory:
                counter = self._start_counting(directory, scope)
                self._limit(root, directory, counter, limit_bytes)
                limit = requested_limits.RequestedLimit(limit_bytes or 0)
                requested_limits.keep(root, scope, limit)
            try:
                descriptors.rename_new(name, making, name, root)
            except FileExistsError:  # another tool, which does not use our lock, made it
                os.rmdir(name, dir_fd=making)
                raise QuotaScopeExists(f"Quota scope {scope} is already there.") from None

    def _begin_adoption(
        self, root: int, directory: int, scope: QuotaScope, limit_bytes: int
    ) -> bool:
        """Return whether a tree has to be walked; if so, record that for a next process."""
        limit = requested_limits.find(root, scope)
        if self._counter_of(directory) and not (limit and limit.adopting):
            requested_limits.settle(root, scope, limit_bytes)
            return False
        self._check_adoptable(directory, scope)
        requested_limits.keep(
            root, scope, requested_limits.RequestedLimit(limit_bytes, adopting=True)
        )
        return True

    def _limit(self, root: int, directory: int, counter: int, limit_bytes: int | None) -> None:
        rounded = self.effective_limit(limit_bytes) if limit_bytes else None
        self._apply_limit(root, directory, counter, rounded)
        actual = self._usage(directory, counter).limit_bytes
        if actual != rounded:
            raise BackendFailed(
                f"The storage system holds a limit of {actual} bytes, not {rounded}.",
            )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the volume's top with the lock of its scopes held."""
        with self._explained(), self.root() as root:
            path = PurePosixPath(layout.HIDDEN)
            with descriptors.made(path, root, descriptors.HIDDEN_MODE) as hidden:
                fcntl.flock(hidden, fcntl.LOCK_EX)
                yield root

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise an error that explains missing rights, or that quota is off."""
        try:
            yield
        except PermissionError:
            raise AccessRefused(
                f"The storage system refuses this service the quota of volume {self.mount.volume}; "
                f"{self.rights}.",
            ) from None
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            raise BackendFailed(f"Volume {self.mount.volume} does not enforce quota now.") from None
