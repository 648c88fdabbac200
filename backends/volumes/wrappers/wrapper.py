"""The parent of every wrapper: a backend that passes each call on to the one it wraps."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, TypeVar

from backends.base import (
    DEFAULT_MODE,
    Backend,
    Capacity,
    HardwareInfo,
    MountedBackend,
    QuotaUsage,
    implements,
)
from core.errors import Unsupported
from core.names import QuotaScope, VFolderId

S = TypeVar("S")


class Wrapper(MountedBackend):
    """A backend around another one; a subclass overrides the calls that it changes.

    It has the skills of the wrapped backend and no others. A skill whose methods a subclass defines
    too is reached through the subclass; every other skill is reached directly.
    """

    #: No configuration names a wrapper.
    name: ClassVar[str] = ""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.mount)
        self.inner = inner

    def skill(self, kind: type[S]) -> S | None:
        """See `Backend.skill`."""
        found = self.inner.skill(kind)
        return super().skill(kind) if found and implements(type(self), kind) else found

    def inner_as(self, kind: type[S]) -> S:
        """Return the wrapped backend as one with a skill.

        Raises:
            Unsupported: it does not have it.
        """
        return skilled(self.inner, kind)

    def probe(self) -> str:
        """See `Backend.probe`."""
        return self.inner.probe()

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`."""
        return self.inner.lacking()

    def proved(self) -> frozenset[str]:
        """See `Backend.proved`."""
        return self.inner.proved()

    def capacity(self) -> Capacity:
        """See `Backend.capacity`."""
        return self.inner.capacity()

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`."""
        return self.inner.hardware()

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        self.inner.create_scope(scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`."""
        return self.inner.describe_scope(scope)

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`."""
        self.inner.set_limit(scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        self.inner.unset_limit(scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        self.inner.delete_scope(scope)

    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:
        """See `Backend.create_vfolder`."""
        self.inner.create_vfolder(vfolder, mode)

    def open_vfolder(self, vfolder: VFolderId) -> AbstractContextManager[int]:
        """See `Backend.open_vfolder`."""
        return self.inner.open_vfolder(vfolder)

    def check_vfolder(self, vfolder: VFolderId) -> None:
        """See `Backend.check_vfolder`."""
        self.inner.check_vfolder(vfolder)

    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """See `Backend.vfolder_path`."""
        return self.inner.vfolder_path(vfolder)

    def root(self) -> AbstractContextManager[int]:
        """See `MountedBackend.root`."""
        return self.inner_as(MountedBackend).root()

    def held(self) -> AbstractContextManager[None]:
        """See `MountedBackend.held`."""
        return self.inner_as(MountedBackend).held()

    def open_scope(self, scope: QuotaScope | None) -> AbstractContextManager[int]:
        """See `MountedBackend.open_scope`."""
        return self.inner_as(MountedBackend).open_scope(scope)

    def reflinks(self) -> bool:
        """See `MountedBackend.reflinks`."""
        return self.inner_as(MountedBackend).reflinks()

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`."""
        self.inner_as(MountedBackend).before_purge(parent, name, vfolder)


def skilled(backend: Backend, kind: type[S]) -> S:
    """Return a backend as one with a skill.

    Raises:
        Unsupported: it does not have it.
    """
    found = backend.skill(kind)
    if found is None:
        raise Unsupported(f"Volume {backend.mount.volume} cannot do this.")
    return found
