"""A mounted backend whose limits this service enforces, because the storage system has none."""

from dataclasses import replace
from typing import TypeVar, cast

from backends.base import Backend, MountedBackend, QuotaUsage
from backends.quota import SoftQuota
from backends.volumes.wrappers.wrapper import Wrapper
from core.errors import QuotaScopeExists
from core.names import QuotaScope

S = TypeVar("S")


class SoftQuotaBackend(Wrapper):
    """Limits lie on the volume, as the wrapped backend keeps them; usage comes from our ledger."""

    def __init__(self, inner: MountedBackend, quota: SoftQuota) -> None:
        super().__init__(inner)
        self._quota = quota

    def skill(self, kind: type[S]) -> S | None:
        """See `Backend.skill`: soft limits are a skill of this wrapper itself."""
        return cast("S", self._quota) if kind is SoftQuota else super().skill(kind)

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        super().create_scope(scope, limit_bytes)
        if limit_bytes is not None:
            self._begin(scope, made=True)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`; the usage is unknown until the scope was counted."""
        found = super().describe_scope(scope)
        if found.limit_bytes is None:
            return found
        return replace(found, used_bytes=self._quota.balance(scope.directory).used_bytes)

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`; what the scope holds already is counted now if it is small."""
        try:
            self.create_scope(scope, limit_bytes)
        except QuotaScopeExists:
            super().set_limit(scope, limit_bytes)
            self._begin(scope, made=False)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        super().unset_limit(scope)
        self._quota.end(scope.directory)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        super().delete_scope(scope)
        self._quota.end(scope.directory, gone=True)

    def _begin(self, scope: QuotaScope, *, made: bool) -> None:
        with self.root() as root:
            self._quota.begin(root, scope, made=made)


class VFolderQuotaBackend(Wrapper):
    """A mounted backend with limits of its own, where this service limits single vfolders."""

    def __init__(self, inner: Backend, quota: SoftQuota) -> None:
        super().__init__(inner)
        self._quota = quota

    def skill(self, kind: type[S]) -> S | None:
        """See `Backend.skill`: the limits of vfolders are a skill of this wrapper itself."""
        return cast("S", self._quota) if kind is SoftQuota else super().skill(kind)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        super().delete_scope(scope)
        self._quota.end(scope.directory, gone=True)
