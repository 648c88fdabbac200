"""Lustre whose tool fails by chance: what is said to be done is done, and no error is "no limit".

`ARRAY_SEEDS` is how many seeds are tried, from `ARRAY_SEED` on, as for the arrays.
"""

from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

import pytest

from backends.base import HardwareStatus
from core import errors
from core.names import QuotaScope, VFolderId
from tests.backends.systems.arrays.test_seeds import RATE, SEEDS
from tests.backends.systems.lustre.conftest import LONG, MIB, Lustre, scope

pytestmark = pytest.mark.part("root")
#: So many failures in a row are a defect (by chance: less than one of 10^13).
TRIES = 20
Result = TypeVar("Result")


def insist(act: Callable[[], Result], done: type[Exception] | None = None) -> Result | None:
    """Do something until it is done; after a failure, `done` says that it was."""
    failed = False
    for _ in range(TRIES):
        try:
            return act()
        except errors.BackendFailed:
            failed = True
        except errors.StorageError as error:
            if not failed or done is None or not isinstance(error, done):
                raise
            return None
    pytest.fail("It failed each time.")


def live(lustre: Lustre, one: QuotaScope) -> None:
    """The life of a scope with a vfolder; each figure that is given is right."""
    backend, vfolder = lustre.backend, VFolderId(one, uuid4())
    insist(lambda: backend.create_scope(one, 3 * MIB), errors.QuotaScopeExists)
    assert limit(lustre, one) == 3 * MIB
    insist(lambda: backend.create_vfolder(vfolder), errors.VFolderExists)
    (backend.vfolder_path(vfolder) / "file").write_bytes(b"x" * MIB)
    found = insist(lambda: backend.describe_scope(one))
    assert found is not None
    assert MIB <= (found.used_bytes or 0) < 2 * MIB
    insist(lambda: backend.set_limit(one, 8 * MIB))
    assert limit(lustre, one) == 8 * MIB
    insist(lambda: backend.unset_limit(one))
    assert limit(lustre, one) is None
    with pytest.raises(errors.QuotaScopeNotEmpty):
        insist(lambda: backend.delete_scope(one))
    (backend.vfolder_path(vfolder) / "file").unlink()
    for directory in (vfolder.directory, *list(vfolder.directory.parents)[:2]):
        (lustre.top / directory).rmdir()
    insist(lambda: backend.set_limit(one, MIB))
    insist(lambda: backend.delete_scope(one), errors.QuotaScopeNotFound)
    assert not (lustre.top / one.directory).exists()


def limit(lustre: Lustre, one: QuotaScope) -> int | None:
    found = insist(lambda: lustre.backend.describe_scope(one))
    assert found is not None
    return found.limit_bytes


@LONG
@pytest.mark.parametrize("delimiter", [False, True], ids=["columns", "delimiter"])
@pytest.mark.parametrize("seed", SEEDS)
def test_scopes_live_and_go_whatever_the_tool_does(
    lustre: Lustre,
    seed: int,
    delimiter: bool,  # noqa: FBT001 - the table's column
) -> None:
    lustre.change(seed=seed, rate=RATE, delimiter=delimiter)
    insist(lustre.backend.probe)
    one = scope()
    live(lustre, one)
    # A removal that failed at its last call leaves limits of an id: they never hold a new scope.
    insist(lambda: lustre.backend.create_scope(one), errors.QuotaScopeExists)
    assert limit(lustre, one) is None
    insist(lambda: lustre.backend.delete_scope(one), errors.QuotaScopeNotFound)


@LONG
@pytest.mark.parametrize("seed", SEEDS)
def test_a_tool_that_fails_is_no_target_that_is_away(lustre: Lustre, seed: int) -> None:
    lustre.change(seed=seed, rate=RATE)
    for _ in range(8):
        found = lustre.backend.hardware()
        assert found.status in (HardwareStatus.HEALTHY, HardwareStatus.DEGRADED)
        assert "away" not in (found.status_info or "")
