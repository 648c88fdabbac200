"""VAST's own ways: 403 for a token that is void, lists in two shapes, tasks, texts for errors."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backends.base import HardwareStatus
from backends.systems.vast.backend import VastBackend
from contract.waiting import eventually
from core import errors
from tests.backends.systems.arrays.simulated import Array, running, scope
from tests.backends.systems.arrays.watching import Watch
from tests.fakes import vast
from tests.fakes.shelf import Shelf
from tests.fakes.vast import Profile, VastSim

MIB = 1 << 20
THREADS = 50
REQUESTS_OF_A_CREATION, REQUESTS_OF_A_LOOK = 6, 2


Running = AbstractContextManager[Array[VastSim, VastBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(VastSim(Shelf(top), profile or Profile()), top, VastBackend, vast.options)


@pytest.mark.parametrize(
    "profile",
    [Profile(), Profile(page_max=1), Profile(tasks=True), Profile(stat_path=False)],
    ids=["current", "pages", "tasks", "before 4.7"],
)
def test_a_scope_lives_and_goes(tmp_path: Path, profile: Profile) -> None:
    with array(tmp_path, profile) as it:
        it.backend.probe()
        one = scope()
        before = len(it.server.journal)
        it.backend.create_scope(one, 3 * MIB + 1)
        polls = len(it.server.asked("GET", "vtasks"))
        assert len(it.server.journal) - before - polls <= REQUESTS_OF_A_CREATION
        before = len(it.server.journal)
        assert it.backend.describe_scope(one).limit_bytes == 3 * MIB + 1
        assert len(it.server.journal) - before <= REQUESTS_OF_A_LOOK
        it.backend.set_limit(one, 5 * MIB)
        it.backend.unset_limit(one)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes) == (None, 0)
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


@pytest.mark.parametrize("fault", ["drop after", "html 502 after", "truncate", "wrong json"])
def test_a_creation_whose_answer_is_lost_is_looked_up(tmp_path: Path, fault: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.server.faults.next(fault, "POST", "quotas")
        it.backend.create_scope(one, MIB)
        assert len(it.server.asked("POST", "quotas")) == 1
        assert len(it.simulator.effects) == 1
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_many_threads_log_in_once_per_expiry(tmp_path: Path, watch: Watch) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)

        def describe(_: int) -> int | None:
            return it.backend.describe_scope(one).limit_bytes

        for expiry in range(1, 4):
            it.simulator.expire()
            with ThreadPoolExecutor(THREADS) as pool:
                assert set(pool.map(describe, range(THREADS))) == {MIB}
            assert (it.simulator.logins, it.simulator.refreshes) == (1, expiry)
        it.simulator.expire()
        it.simulator._refresh.clear()
        assert describe(0) == MIB
        assert it.simulator.logins == 2
        watch.holds(vast.PASSWORD, *it.simulator._access, *it.simulator._refresh)


def test_a_token_of_the_interface_needs_no_login(tmp_path: Path, watch: Watch) -> None:
    with array(tmp_path) as it:
        given = {"vast_username": None, "vast_password": None}
        mine = it.another(vast_api_token=vast.API_TOKEN, **given)
        mine.create_scope(scope(), MIB)
        assert it.simulator.logins == 0
        with pytest.raises(errors.BackendFailed):
            it.another(vast_api_token="another", **given).array_capacity()
        with pytest.raises(errors.ConfigurationError, match="vast_api_token"):
            it.another(**given)
        watch.holds(vast.API_TOKEN)


def test_a_missing_permission_is_no_expired_login(tmp_path: Path) -> None:
    with array(tmp_path, Profile(permitted=False)) as it:
        with pytest.raises(errors.BackendFailed, match="permission"):
            it.backend.create_scope(scope())
        assert it.simulator.logins == 1


def test_what_was_there_is_counted_by_and_by(tmp_path: Path) -> None:
    with array(tmp_path, Profile(sync_seconds=3600.0)) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x" * MIB)
        it.backend.set_limit(one, 8 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes, found.enforced) == (8 * MIB, None, None)
        it.simulator.count_all()
        eventually(lambda: it.backend.describe_scope(one).used_bytes == MIB)


def test_a_directory_removed_by_hand_leaves_nothing_behind(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (tmp_path / one.directory).rmdir()
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


def test_a_mount_of_something_else_is_noticed(tmp_path: Path) -> None:
    with array(tmp_path) as it, pytest.raises(errors.BackendFailed, match="not the array's"):
        it.another(vast_storage_base_dir="/elsewhere").probe()


def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.state = "UPGRADING"
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        assert it.backend.performance().iops_read == 100
        assert it.backend.array_capacity().used_bytes == 10 << 30
