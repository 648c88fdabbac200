"""WEKA's own ways, and with it the logins of arrays that have them."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backends.base import HardwareStatus, capabilities
from backends.systems.weka.backend import WekaBackend
from contract.waiting import eventually
from core import errors
from tests.backends.systems.arrays.simulated import Array, running, scope
from tests.fakes import weka
from tests.fakes.serving import Faults, serving
from tests.fakes.shelf import Shelf
from tests.fakes.weka import Profile, WekaSim

MIB = 1 << 20


Running = AbstractContextManager[Array[WekaSim, WekaBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(WekaSim(Shelf(top), profile or Profile()), top, WekaBackend, weka.options)


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


def test_no_quota_for_what_holds_something_without_data_services(tmp_path: Path) -> None:
    with array(tmp_path, Profile(data_service=False)) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x")
        with pytest.raises(errors.Conflict, match="data services"):
            it.backend.set_limit(one, MIB)


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
