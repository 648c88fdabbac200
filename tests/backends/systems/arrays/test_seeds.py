"""Arrays that suffer by chance: every act ends rightly, once, and is asked for with care.

`ARRAY_SEEDS` is how many seeds are tried, from `ARRAY_SEED` on.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import HasMetric, Mount
from backends.mounted import PosixBackend
from backends.volumes import backend_factory
from core import errors
from core.names import QuotaScope, ScopeKind
from tests.backends.systems.arrays.simulated import trusting
from tests.backends.systems.arrays.watching import Watch, modest, no_blind_repetition
from tests.fakes import flashblade, hammerspace, onefs, ontap, scale, vast, weka
from tests.fakes.flashblade import FlashBladeSim
from tests.fakes.hammerspace import HammerspaceSim
from tests.fakes.hammerspace import Profile as HammerspaceProfile
from tests.fakes.onefs import OneFsSim
from tests.fakes.ontap import OntapSim, Profile
from tests.fakes.scale import ScaleSim
from tests.fakes.scale_cluster import Cluster
from tests.fakes.serving import Faults, Server, Simulator, serving
from tests.fakes.shelf import Shelf
from tests.fakes.vast import VastSim
from tests.fakes.weka import WekaSim

FIRST = int(os.environ.get("ARRAY_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("ARRAY_SEEDS", "1")))
RATE = 0.2
MIB = 1 << 20
THREADS = 8
LOGINS = ("/login", "/token/", "/session/")

Maker = Callable[[Path, int], Simulator]
Options = Callable[[str], dict[str, Any]]


def _hammerspace(top: Path, seed: int) -> Simulator:
    profile = HammerspaceProfile(expired_status=401 if seed % 2 else 403)
    return HammerspaceSim(Shelf(top), profile, seed, chance_of_task_fault=RATE)


def _ontap(top: Path, seed: int) -> Simulator:
    simulator = OntapSim(Shelf(top), Profile(quota="on", never_inline=seed % 2 == 0), seed)
    simulator.chance_of_job_fault = RATE / 2
    return simulator


def _onefs(top: Path, seed: int) -> Simulator:
    """Return a cluster of either interface, with short pages and names that OneFS does not list."""
    latest = "16" if seed % 2 else "7"
    return OneFsSim(Shelf(top), onefs.Profile(latest=latest, page_max=2))


def _scale(top: Path, seed: int) -> Simulator:
    """Return a GUI node with jobs that fail, vanish and stall, and either kind of quota."""
    profile = scale.Profile(page_max=2, polls=seed % 2, links=seed % 3 != 0)
    simulator = ScaleSim(Cluster(Shelf(top), per_fileset=seed % 2 == 0), profile, seed=seed)
    simulator.chance_of_job_fault = RATE / 2
    return simulator


WITH_QUOTA: dict[str, tuple[Maker, Options]] = {
    "hammerspace": (_hammerspace, hammerspace.options),
    "netapp": (_ontap, ontap.options),
    "weka": (lambda top, _: WekaSim(Shelf(top)), weka.options),
    "vast": (lambda top, _: VastSim(Shelf(top)), vast.options),
    "dellemc-onefs": (_onefs, onefs.options),
    "gpfs": (_scale, scale.options),
}
ALL = {**WITH_QUOTA, "purestorage": (lambda top, _: FlashBladeSim(top), flashblade.options)}
SECRETS = (
    hammerspace.PASSWORD,
    onefs.PASSWORD,
    scale.PASSWORD,
    ontap.PASSWORD,
    weka.PASSWORD,
    vast.PASSWORD,
    flashblade.API_TOKEN,
)


@contextmanager
def suffering(
    name: str, top: Path, seed: int, watch: Watch
) -> Iterator[tuple[PosixBackend, Server, Any]]:
    """A backend on an array that suffers; in the end its journal and our logs are looked at."""
    maker, options = ALL[name]
    simulator = maker(top, seed)
    faults = Faults(seed, RATE)
    with serving(simulator, faults) as server:
        backend = backend_factory(name)(Mount("array", top, trusting(options(server.url))))
        assert isinstance(backend, PosixBackend)
        yield backend, server, simulator
    modest(server)
    watch.holds(*SECRETS)
    wanted = 1 + faults.happened.count("expire")
    asked = [e for e in server.journal if any(word in e.path for word in LOGINS)]
    lost = sum(bool(entry.fault) for entry in asked)
    logins = getattr(simulator, "logins", 0) + getattr(simulator, "refreshes", 0)
    assert logins <= wanted + lost


def scope() -> QuotaScope:
    return QuotaScope(ScopeKind.PROJECT, uuid4())


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
        for _ in range(3):
            live(backend, scope())
        no_blind_repetition(server)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: live(backend, scope()), range(THREADS)))
        assert len(simulator.effects) == len(set(simulator.effects))
        left = getattr(simulator, "quotas", None) or getattr(simulator, "qtrees", None)
        assert not left


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ALL)
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
