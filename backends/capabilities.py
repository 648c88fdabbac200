"""The capabilities of a volume, derived from its backend's protocols and from what was proved."""

from functools import cache

from backends.base import (
    Backend,
    HasFastCapacity,
    HasFastUsage,
    HasMetric,
    HasQuota,
    HasSnapshots,
)

#: The capability words (the wire's, and ours) and the protocol of each.
CAPABILITIES: dict[str, type] = {
    "quota": HasQuota,
    "metric": HasMetric,
    "fast-fs-size": HasFastCapacity,
    "fast-size": HasFastUsage,
    "snapshot": HasSnapshots,
}


def capabilities(backend: Backend) -> list[str]:
    """Name the skills of a backend: `vfolder`, which all have, and each protocol it implements.

    What the storage system could do, but was not found to do here, is left out. `reflink` belongs
    to a mount and to no class: it is named once a probe found it.
    """
    lacking = backend.lacking()
    named = [name for name in _skills(type(backend)) if name not in lacking]
    return [*named, *sorted(backend.proved())]


def of_class(backend: Backend) -> list[str]:
    """The skills of a backend's class, for who cannot wait until a volume is looked at."""
    return list(_skills(type(backend)))


@cache
def _skills(kind: type[Backend]) -> tuple[str, ...]:
    """Asking a protocol of a class is slow, and a class does not change."""
    return ("vfolder", *sorted(n for n, skill in CAPABILITIES.items() if issubclass(kind, skill)))
