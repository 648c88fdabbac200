"""VAST's own ways: 403 for a token that is void, lists in two shapes, tasks, texts for errors."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backends.base import HardwareStatus
from backends.systems.vast.backend import VastBackend
from core import errors
from simulators.arrays import vast
from simulators.arrays.vast import Profile, VastSim
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20


Running = AbstractContextManager[Array[VastSim, VastBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(VastSim(Shelf(top), profile or Profile()), top, VastBackend, vast.options)


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


def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.state = "UPGRADING"
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        assert it.backend.performance().iops_read == 100
        assert it.backend.array_capacity().used_bytes == 10 << 30
