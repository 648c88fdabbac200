"""Which is full, the scope or the volume, by who enforces the limit."""

from pathlib import Path

import pytest

from backends.base import Capacity, Enforcement, Mount, QuotaUsage
from backends.mounted import PosixBackend
from backends.quota import blame
from core import errors
from core.names import QuotaScope

SCOPE = QuotaScope.parse("user:11111111-2222-3333-4444-555555555555")
LIMIT = 1 << 20


class FullScope(PosixBackend):
    """A volume with room, whose only scope is full."""

    enforced: Enforcement | None = None

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        del scope
        return QuotaUsage(LIMIT, LIMIT, LIMIT, self.enforced)

    def capacity(self) -> Capacity:
        return Capacity(100 * LIMIT, LIMIT)


@pytest.mark.parametrize(
    ("enforced", "blamed"),
    [
        ("hard", errors.QuotaExceeded),
        ("not for root", errors.QuotaExceeded),
        ("unknown", errors.QuotaExceeded),
        ("off", errors.NoSpace),
        ("soft", errors.NoSpace),
        (None, errors.NoSpace),
    ],
)
def test_a_full_scope_is_blamed_where_something_else_than_this_service_may_stop_writers(
    tmp_path: Path, enforced: Enforcement | None, blamed: type[errors.StorageError]
) -> None:
    backend = FullScope(Mount("local", tmp_path))
    backend.enforced = enforced
    assert isinstance(blame(backend, SCOPE, errors.NoSpace("The disk is full.")), blamed)
