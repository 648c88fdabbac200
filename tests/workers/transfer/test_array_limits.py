"""A rescan sets again every limit that was requested and that the storage system has not."""

from pathlib import Path

from backends.base import HasInodeLimits, HasSoftLimits, QuotaUsage
from core.names import QuotaScope
from simulators.arrays import ontap
from tests.support.valkey import Valkey
from tests.workers.transfer.test_array_clone import Site, on_ontap

MIB = 1 << 20


def limits(found: QuotaUsage) -> tuple[int | None, int | None, int | None]:
    return found.limit_bytes, found.limit_inodes, found.soft_limit_bytes


def change(simulator: ontap.OntapSim, scope: QuotaScope) -> None:
    """Change the rule of a scope on the array, as an administrator does."""
    name = scope.directory
    rule = next(one for one in simulator.rules.values() if one["qtree"]["name"] == name)
    rule |= {"space": {"hard_limit": 2 * MIB, "soft_limit": MIB}, "files": {}}
    simulator.active[name] = 2 * MIB
    simulator.further[name] = {"space": dict(rule["space"]), "files": {}}


def rescanned(it: Site, scope: QuotaScope, *, repair: bool) -> tuple[int, int]:
    """Return how many limits a rescan found changed, and how many it set again."""
    job = it.done("rescan", volume="array", owner=str(scope), repair=repair)
    result = job.member("result")
    return tuple(result[what].get("limit-changed", 0) for what in ("found", "repaired"))


def test_each_kind_of_limit_is_set_again(tmp_path: Path, valkey_alone: Valkey) -> None:
    top = tmp_path / "array"
    top.mkdir()
    with on_ontap(tmp_path, valkey_alone, top, ontap.Profile(quota="on")) as (it, simulator):
        scope, backend = it.folder("a").scope, it.backend
        inodes, soft = backend.skill(HasInodeLimits), backend.skill(HasSoftLimits)
        assert scope
        assert inodes
        assert soft
        backend.set_limit(scope, 8 * MIB)
        inodes.set_inode_limit(scope, 1000)
        soft.set_soft_limit(scope, 4 * MIB + 1)
        requested = limits(backend.describe_scope(scope))
        assert requested == (8 * MIB, 1000, 4 * MIB + 1024)
        assert rescanned(it, scope, repair=True) == (0, 0)
        change(simulator, scope)
        assert limits(backend.describe_scope(scope)) == (2 * MIB, None, MIB)
        assert rescanned(it, scope, repair=False) == (3, 0)
        assert rescanned(it, scope, repair=True) == (3, 3)
        assert limits(backend.describe_scope(scope)) == requested
        inodes.set_inode_limit(scope, None)
        backend.set_limit(scope, 2 * MIB)  # the soft limit, which is above it, goes
        assert rescanned(it, scope, repair=True) == (0, 0)
        assert limits(backend.describe_scope(scope)) == (2 * MIB, None, None)
