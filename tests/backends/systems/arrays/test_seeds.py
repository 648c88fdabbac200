"""Arrays that suffer by chance: every act ends rightly, once, and is asked for with care.

`ARRAY_SEEDS` is how many seeds are tried, from `ARRAY_SEED` on.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HasInodeLimits, HasMetric, HasSnapshots, HasSoftLimits, Mount
from backends.mounted import PosixBackend
from backends.volumes import backend_factory
from core import errors
from core.names import QuotaScope
from simulators.serving import Faults, Server, serving
from simulators.shelf import Shelf
from simulators.systems import SYSTEMS, WITH_QUOTA
from tests.backends.systems.arrays.simulated import scope, trusting, vfolder_on
from tests.backends.systems.arrays.watching import Watch, modest, no_blind_repetition
from tests.support.thoroughness import times

FIRST = int(os.environ.get("ARRAY_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("ARRAY_SEEDS", "1")))
RATE = 0.2
MIB = 1 << 20
THREADS = times(4, 8)
LOGINS = ("/login", "/token/", "/session/")

#: What the seed chooses: releases of either kind, short pages, jobs that fail, vanish and stall.
SETTINGS: dict[str, Callable[[int], dict[str, Any]]] = {
    "hammerspace": lambda seed: {"expired_status": 401 if seed % 2 else 403},
    "netapp": lambda seed: {"never_inline": seed % 2 == 0},
    "dellemc-onefs": lambda seed: {"latest": "16" if seed % 2 else "7", "page_max": 2},
    "gpfs": lambda seed: {
        "page_max": 2,
        "polls": seed % 2,
        "links": seed % 3 != 0,
        "per_fileset": seed % 2 == 0,
    },
}
CHANCES = {"hammerspace": RATE, "netapp": RATE / 2, "gpfs": RATE / 2}


@contextmanager
def suffering(
    name: str, top: Path, seed: int, watch: Watch
) -> Iterator[tuple[PosixBackend, Server, Any]]:
    """A backend on an array that suffers; in the end its journal and our logs are looked at."""
    system, faults = SYSTEMS[name], Faults(seed, RATE)
    settings = SETTINGS.get(name, lambda _: {})(seed)
    simulator = system.simulate(Shelf(top), seed, **settings)
    simulator.chance_of_task_fault = CHANCES.get(name, 0.0)
    with serving(simulator, faults) as server:
        backend = backend_factory(name)(Mount("array", top, trusting(system.options(server.url))))
        assert isinstance(backend, PosixBackend)
        yield backend, server, simulator
    modest(server)
    watch.holds(*(one.secret for one in SYSTEMS.values()))
    wanted = 1 + faults.happened.count("expire")
    asked = [e for e in server.journal if any(word in e.path for word in LOGINS)]
    lost = sum(bool(entry.fault) for entry in asked)
    logins = getattr(simulator, "logins", 0) + getattr(simulator, "refreshes", 0)
    assert logins <= wanted + lost


def live(backend: PosixBackend, one: QuotaScope) -> None:
    """The life of a scope: each step is shown and repeated."""
    backend.create_scope(one, 3 * MIB)
    with pytest.raises(errors.QuotaScopeExists):
        backend.create_scope(one, 3 * MIB)
    assert backend.describe_scope(one).limit_bytes == 3 * MIB
    for _ in range(2):
        backend.set_limit(one, 8 * MIB)
        assert backend.describe_scope(one).limit_bytes == 8 * MIB
    for _ in range(2):
        backend.unset_limit(one)
        assert backend.describe_scope(one).limit_bytes is None
    backend.delete_scope(one)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.delete_scope(one)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", WITH_QUOTA)
def test_scopes_live_and_go_once(name: str, seed: int, tmp_path: Path, watch: Watch) -> None:
    with suffering(name, tmp_path, seed, watch) as (backend, server, simulator):
        for _ in range(times(1, 3)):
            live(backend, scope())
        no_blind_repetition(server)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: live(backend, scope()), range(THREADS)))
        assert len(simulator.effects) == len(set(simulator.effects))
        assert not simulator.quotas


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_figures_are_told(name: str, seed: int, tmp_path: Path, watch: Watch) -> None:
    with suffering(name, tmp_path, seed, watch) as (backend, _, _):
        asked: Any = backend

        def ask(_: int) -> tuple[int, int, str]:
            found, metric = asked.array_capacity(), asked.skill(HasMetric)
            assert 0 <= found.used_bytes <= found.capacity_bytes
            writes = metric.performance().iops_write if metric else 0
            return writes, found.used_bytes, asked.hardware().status

        with ThreadPoolExecutor(THREADS) as pool:
            assert set(pool.map(ask, range(3 * THREADS))) == {(ask(0))}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_snapshots_and_further_limits_end_rightly(
    name: str, seed: int, tmp_path: Path, watch: Watch
) -> None:
    with suffering(name, tmp_path, seed, watch) as (backend, server, simulator):
        one = vfolder_on(backend)
        assert one.scope
        snapshots = backend.skill(HasSnapshots)
        assert snapshots is not None
        for _ in range(2):
            for word in ("a", "b"):
                snapshots.create_snapshot(one, word)
            assert [kept.name for kept in snapshots.list_snapshots(one)] == ["a", "b"]
            for word in ("b", "a"):
                snapshots.delete_snapshot(one, word)
        assert snapshots.list_snapshots(one) == []
        inodes, soft = backend.skill(HasInodeLimits), backend.skill(HasSoftLimits)
        if inodes or soft:
            backend.set_limit(one.scope, 8 * MIB)
        if inodes:
            inodes.set_inode_limit(one.scope, 1000)
            assert backend.describe_scope(one.scope).limit_inodes == 1000
        if soft:
            soft.set_soft_limit(one.scope, MIB)
            found = backend.describe_scope(one.scope)
            assert (found.limit_bytes, found.soft_limit_bytes) == (8 * MIB, MIB)
        no_blind_repetition(server)
        made = [one for one in simulator.effects if one.startswith(("create snapshot", "snapshot"))]
        assert len(made) == 4
