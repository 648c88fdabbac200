"""Limits that the storage system enforces: how they are rounded, and what was requested."""

from abc import abstractmethod
from dataclasses import replace

from backends.base import QuotaUsage
from backends.mounted.posix import PosixBackend
from backends.quota import requested_limits
from core.names import QuotaScope

#: Clients and kernels count in signed 64-bit numbers.
LIMIT_MAX_BYTES = 2**63 - 1


class LimitedBackend(PosixBackend):
    """The common part of backends whose storage system limits quota scopes."""

    @abstractmethod
    def _limit_unit(self) -> int:
        """Return the unit of limits in bytes: a limit is a multiple of it."""

    def effective_limit(self, limit_bytes: int) -> int:
        """See `HasQuota.effective_limit`."""
        granule = self._limit_unit()
        return min(-(-limit_bytes // granule), LIMIT_MAX_BYTES // granule) * granule

    def _with_request(self, root: int, scope: QuotaScope, found: QuotaUsage) -> QuotaUsage:
        """Return what was found, with the limit of bytes as it was requested."""
        if found.limit_bytes is None:
            return replace(found, enforced=None)
        requested = requested_limits.requested(root, scope, found.limit_bytes, self.effective_limit)
        return replace(found, requested_bytes=requested)
