"""Storage Scale by its native REST API: operations, pages, refusals, and what stays unknown."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HardwareStatus, HasFastCapacity, HasSnapshots, Mount, capabilities
from backends.systems.gpfs.backend import GpfsNativeBackend
from backends.volumes import backend_factory
from core import errors
from simulators.arrays import scale_native
from simulators.arrays.scale_cluster import BLOCK, UNLINKED, Cluster
from simulators.arrays.scale_native import NativeProfile, NativeSim
from simulators.serving import Faults, Server
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope
from tests.backends.systems.arrays.test_seeds import RATE, SEEDS, live
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20
THREADS = 4
#: Requests of a creation, with the polls of its three operations, and of a look.
CREATION_REQUESTS, LOOK_REQUESTS = 16, 2

Native = Array[NativeSim, GpfsNativeBackend]


def options(url: str) -> dict[str, Any]:
    return {**scale_native.options(url), **NativeSim.further_options}


def array(
    top: Path, profile: NativeProfile | None = None, **cluster: Any
) -> AbstractContextManager[Native]:
    simulator = NativeSim(Cluster(Shelf(top), **cluster), profile or NativeProfile())
    return running(simulator, top, GpfsNativeBackend, options)


@pytest.mark.parametrize(
    "profile",
    [
        NativeProfile(),
        NativeProfile(page_max=1, polls=3),
        NativeProfile(reads_are_operations=True, numbers=False),
        NativeProfile(not_linked="", polls=0),
    ],
    ids=["current", "pages", "operations", "no path"],
)
def test_a_scope_lives_and_goes(tmp_path: Path, profile: NativeProfile, watch: Watch) -> None:
    with array(tmp_path, profile) as it:
        backend, one, other = it.backend, scope(), scope()
        backend.probe()
        backend.create_scope(other, MIB)
        asked = len(it.server.journal)
        backend.create_scope(one, 3 * MIB + 1)
        if profile == NativeProfile():
            assert len(it.server.journal) - asked <= CREATION_REQUESTS
            asked = len(it.server.journal)
            backend.describe_scope(one)
            assert len(it.server.journal) - asked <= LOOK_REQUESTS
        found = backend.describe_scope(one)
        assert (found.limit_bytes, found.requested_bytes) == (3 * MIB + BLOCK, 3 * MIB + 1)
        assert found.enforced == "unknown", "the interface does not say it"
        assert (tmp_path / one.directory).stat().st_mode & 0o777 == 0o755
        (tmp_path / one.directory / "file").write_bytes(b"x" * MIB)
        backend.set_inode_limit(one, 1000)
        backend.set_soft_limit(one, 2 * MIB)
        found = backend.describe_scope(one)
        assert (found.limit_inodes, found.soft_limit_bytes) == (1000, 2 * MIB)
        assert (found.used_bytes or 0) >= MIB
        with pytest.raises(errors.QuotaScopeNotEmpty):
            backend.delete_scope(one)
        assert (tmp_path / one.directory / "file").stat().st_size == MIB
        (tmp_path / one.directory / "file").unlink()
        backend.set_limit(one, 8 * MIB)
        assert backend.describe_scope(one).limit_inodes == 1000, "it stays"
        backend.unset_limit(one)
        assert backend.describe_scope(one).limit_bytes is None
        backend.delete_scope(one)
        with pytest.raises(errors.QuotaScopeNotFound):
            backend.delete_scope(one)
        assert list(it.simulator.cluster.filesets) == [other.directory]
        watch.holds(scale_native.PASSWORD)


@pytest.mark.parametrize("fault", ["drop after", "html 502 after", "truncate", "wrong json"])
@pytest.mark.parametrize("path", ["/filesets", ":link"])
def test_a_change_whose_answer_is_lost_is_looked_up(tmp_path: Path, path: str, fault: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.server.faults.next(fault, "POST", path)
        it.backend.create_scope(one, MIB)
        assert it.server.faults.happened == [fault]
        assert it.backend.describe_scope(one).limit_bytes == MIB
        assert len(it.simulator.effects) == 2, "it was made once, and linked once"


def test_nothing_is_removed_that_only_the_mount_does_not_show(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    for one in (top, other):
        one.mkdir()
    with array(top) as it:
        kept = scope()
        it.backend.create_scope(kept, MIB)
        (top / kept.directory / "kept").write_bytes(b"x")
        elsewhere = GpfsNativeBackend(Mount("array", other, it.backend.mount.options))
        for call in (elsewhere.probe, lambda: elsewhere.delete_scope(kept)):
            with pytest.raises(errors.BackendFailed, match="not the array's"):
                call()
        assert (top / kept.directory / "kept").read_bytes() == b"x"


def test_an_open_file_and_a_failed_operation_are_named(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        it.simulator.cluster.in_use = [one.directory]
        with pytest.raises(errors.RequestRefused, match=r"operation \S+ failed: .*open files"):
            it.backend.delete_scope(one)
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_a_missing_page_of_a_proxy_is_no_missing_fileset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        answer = it.simulator.answer
        page = scale_native.Say(404, b"<html>Not Found</html>", {"Content-Type": "text/html"})
        monkeypatch.setattr(
            it.simulator, "answer", lambda ask: page if "/filesets/" in ask.path else answer(ask)
        )
        with pytest.raises(errors.RequestRefused):
            it.backend.delete_scope(one)
        monkeypatch.undo()
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_a_refused_login_is_tried_once(tmp_path: Path, watch: Watch) -> None:
    with array(tmp_path) as it:
        mine = it.another(gpfs_password="wr0ng")
        with ThreadPoolExecutor(50) as pool:
            found = list(pool.map(lambda _: mine.hardware().status_info or "", range(50)))
        assert it.simulator.wrong_passwords == 1
        assert not any("wr0ng" in words for words in found)
        watch.holds("wr0ng", scale_native.PASSWORD)


def test_a_domain_of_roles_is_named(tmp_path: Path) -> None:
    with array(tmp_path, NativeProfile(domain="research")) as it:
        with pytest.raises(errors.AccessRefused, match="no role"):
            it.backend.create_scope(scope(), MIB)
        it.another(gpfs_domain="research").create_scope(scope(), MIB)


def test_what_the_interface_does_not_tell_is_unknown(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        backend = it.backend
        found = capabilities(backend)
        assert not {"quota", "snapshot", "metric", "fast-fs-size"} & set(found)
        assert {"inode-limit", "soft-limit"} <= set(found)
        assert backend.skill(HasSnapshots) is backend.skill(HasFastCapacity) is None


def test_the_health_of_the_api_nodes(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.service_status = "STOPPED"
        found = it.backend.hardware()
        assert found.status == HardwareStatus.DEGRADED
        assert "REST Server on node2 is STOPPED" in (found.status_info or "")


def test_an_old_fileset_never_becomes_a_new_scope_unnoticed(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.simulator.cluster.create(one.directory, "0:0", 0o755, "new")
        (tmp_path / UNLINKED / one.directory / "old").write_bytes(b"x")
        with pytest.raises(errors.Conflict, match="holds files"):
            it.backend.create_scope(one, MIB)


def test_the_factory_makes_it_under_both_names(tmp_path: Path) -> None:
    given = options("https://api.example:46443")
    for name in ("gpfs", "spectrumscale"):
        made = backend_factory(name)(Mount("array", tmp_path, given))
        assert isinstance(made, GpfsNativeBackend)
        assert made.name == name


@contextmanager
def suffering(top: Path, seed: int) -> Iterator[tuple[GpfsNativeBackend, Server, NativeSim]]:
    profile = NativeProfile(polls=seed % 3, reads_are_operations=seed % 2 == 0, page_max=2)
    simulator = NativeSim(Cluster(Shelf(top)), profile, seed)
    simulator.chance_of_task_fault = RATE / 2
    with running(simulator, top, GpfsNativeBackend, options, Faults(seed, RATE)) as it:
        yield it.backend, it.server, simulator


@pytest.mark.parametrize("seed", SEEDS)
def test_scopes_live_and_go_once_whatever_happens(tmp_path: Path, seed: int, watch: Watch) -> None:
    with suffering(tmp_path, seed) as (backend, server, simulator):
        live(backend, scope())
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: live(backend, scope()), range(THREADS)))
        assert len(simulator.effects) == len(set(simulator.effects))
        assert not simulator.quotas
        del server.journal[:]  # of several threads: another's look is no look
        watch.holds(scale_native.PASSWORD)
