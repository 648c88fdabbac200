"""WEKA's own ways, and with it the logins of arrays that have them."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backends.base import HardwareStatus, capabilities
from backends.systems.weka.backend import WekaBackend
from contract.waiting import eventually
from core import errors
from tests.backends.systems.arrays.simulated import Array, running, scope
from tests.backends.systems.arrays.watching import Watch
from tests.fakes import weka
from tests.fakes.serving import Faults, serving
from tests.fakes.shelf import Shelf
from tests.fakes.weka import Profile, WekaSim

MIB = 1 << 20
THREADS = 50
REQUESTS_OF_A_CREATION, REQUESTS_OF_A_LOOK = 6, 2


Running = AbstractContextManager[Array[WekaSim, WekaBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(WekaSim(Shelf(top), profile or Profile()), top, WekaBackend, weka.options)


@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        Profile(page=1),
        Profile(old_lists=True),
        Profile(missing_quota_status=500),
    ],
    ids=["current", "pages", "old lists", "500 for nothing"],
)
def test_a_scope_lives_and_goes(tmp_path: Path, profile: Profile) -> None:
    with array(tmp_path, profile) as it:
        others = [scope() for _ in range(3)]
        for other in others:
            it.backend.create_scope(other)
        one = scope()
        before = len(it.server.journal)
        it.backend.create_scope(one, 3 * MIB + 1)
        assert len(it.server.journal) - before <= REQUESTS_OF_A_CREATION
        before = len(it.server.journal)
        found = it.backend.describe_scope(one)
        assert len(it.server.journal) - before <= REQUESTS_OF_A_LOOK
        assert (found.limit_bytes, found.requested_bytes) == (3 * MIB + 4096, 3 * MIB + 1)
        it.backend.unset_limit(one)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes) == (None, 0)
        it.backend.delete_scope(one)
        assert len(it.simulator.quotas) == len(others)


def test_many_threads_log_in_once_per_expiry(tmp_path: Path, watch: Watch) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        assert (it.simulator.logins, it.simulator.refreshes) == (1, 0)

        def describe(_: int) -> int | None:
            return it.backend.describe_scope(one).limit_bytes

        for expiry in range(1, 4):
            it.simulator.expire()
            with ThreadPoolExecutor(THREADS) as pool:
                assert set(pool.map(describe, range(THREADS))) == {MIB}
            assert (it.simulator.logins, it.simulator.refreshes) == (1, expiry)
        it.simulator.expire()
        it.simulator.forget_refreshes()
        with ThreadPoolExecutor(THREADS) as pool:
            assert set(pool.map(describe, range(THREADS))) == {MIB}
        assert it.simulator.logins == 2
        watch.holds(weka.PASSWORD, *it.simulator._access, *it.simulator._refresh)


def test_a_login_that_is_refused_is_not_tried_by_every_thread(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(weka_password="wr0ng")

        def refused(_: int) -> str:
            with pytest.raises(errors.BackendFailed) as error:
                mine.array_capacity()
            return error.value.detail

        with ThreadPoolExecutor(THREADS) as pool:
            assert not any("wr0ng" in detail for detail in pool.map(refused, range(THREADS)))
        assert len(it.server.asked("POST", "/login")) == 1


def test_a_child_logs_in_for_itself(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        it.backend.array_capacity()
        number = os.fork()
        if number == 0:
            try:
                os._exit(0 if it.backend.array_capacity().capacity_bytes else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
        it.backend.array_capacity()
        assert (it.simulator.logins, it.simulator.refreshes) == (2, 0)


def test_another_endpoint_serves_when_one_is_away(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        ill = Faults(seed=1)
        with serving(it.simulator, ill) as other:
            for _ in range(3):
                ill.next("status 503")
            mine = it.another(weka_endpoint=other.url, weka_endpoints=[it.server.url])
            mine.create_scope(scope(), MIB)
        mine.create_scope(scope(), MIB)


def test_a_directory_that_holds_something_is_counted_by_and_by(tmp_path: Path) -> None:
    with array(tmp_path, Profile(counting_seconds=3600.0)) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x" * MIB)
        it.backend.set_limit(one, 8 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes, found.enforced) == (8 * MIB, None, None)
        it.simulator.count_all()
        eventually(lambda: it.backend.describe_scope(one).used_bytes == MIB)


def test_no_quota_for_what_holds_something_without_data_services(tmp_path: Path) -> None:
    with array(tmp_path, Profile(data_service=False)) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x")
        with pytest.raises(errors.Conflict, match="data services"):
            it.backend.set_limit(one, MIB)


def test_a_directory_removed_by_hand_leaves_nothing_behind(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (tmp_path / one.directory).rmdir()
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.status = "DEGRADED"
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        rates = it.backend.performance()
        assert (rates.iops_read, rates.io_usec_read, rates.io_usec_write) == (200, 200.0, 300.0)
        assert it.backend.array_capacity().capacity_bytes == 100 << 30
        eventually(lambda: "quota" in capabilities(it.backend))
        it.simulator.profile.password_change_required = True
        it.simulator.expire()
        assert it.backend.hardware().status == HardwareStatus.UNAVAILABLE


@pytest.mark.parametrize("fault", ["stuck", "truncate", "empty", "wrong json", "slow"])
def test_answers_that_are_none_are_asked_for_again(tmp_path: Path, fault: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        mine = it.another(answer_seconds=1.0)
        it.server.faults.next(fault, "GET", "quota")
        assert mine.describe_scope(one).limit_bytes == MIB
