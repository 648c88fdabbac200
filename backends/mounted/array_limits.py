"""Limits of an array beside that of bytes: of inodes, and soft ones. Each is a skill of its own."""

from abc import abstractmethod

from backends.mounted.array import ArrayQuotaBackend
from backends.mounted.posix import check_limit
from core.names import QuotaScope


class ArrayInodeLimits(ArrayQuotaBackend):
    """The skill `HasInodeLimits` of a backend whose array limits quota scopes."""

    @abstractmethod
    def _apply_inode_limit(self, name: str, limit_inodes: int | None) -> None:
        """Limit the inodes of a scope's directory, or remove that limit.

        It is in force when this returns. Other limits of the directory stay as they are.
        """

    def set_inode_limit(self, scope: QuotaScope, limit_inodes: int | None) -> None:
        """See `HasInodeLimits.set_inode_limit`."""
        check_limit(limit_inodes, "limit_inodes")
        self._change_existing(
            scope,
            lambda name: self._apply_inode_limit(name, limit_inodes),
            limit_inodes=limit_inodes,
        )


class ArraySoftLimits(ArrayQuotaBackend):
    """The skill `HasSoftLimits` of a backend whose array limits quota scopes."""

    @abstractmethod
    def _apply_soft_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set the soft limit of a scope's directory, already rounded, or remove it.

        Other limits of the directory stay as they are.
        """

    def set_soft_limit(self, scope: QuotaScope, limit_bytes: int | None) -> None:
        """See `HasSoftLimits.set_soft_limit`."""
        check_limit(limit_bytes, "soft_limit_bytes")
        rounded = None if limit_bytes is None else self.effective_limit(limit_bytes)
        self._change_existing(
            scope,
            lambda name: self._apply_soft_limit(name, rounded),
            soft_limit_bytes=limit_bytes,
        )
