"""Limits of inodes and soft limits, through the manager door, on a simulated array."""

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from simulators.arrays import ontap
from simulators.serving import serving
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import trusting
from tests.support.doors import RunningDoor, mark, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

MIB = 1 << 20
WRONG = "a-wrong-passw0rd"


@pytest.fixture(scope="module")
def arrays() -> dict[str, ontap.OntapSim]:
    """The simulated ONTAPs by the volume on each."""
    return {}


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, arrays: dict[str, ontap.OntapSim]
) -> Iterator[RunningDoor]:
    """A manager door with volumes on two simulated ONTAPs, of which one refuses the password."""
    tops = {name: tmp_path_factory.mktemp(name) for name in ("array", "refusing")}
    with ExitStack() as servers:
        more = []
        for name, top in tops.items():
            profile = ontap.Profile(quota="on", never_inline=True)
            simulator = arrays[name] = ontap.OntapSim(Shelf(top), profile)
            server = servers.enter_context(serving(simulator))
            given = trusting(ontap.options(server.url))
            if name == "refusing":
                given["netapp_ontap_password"] = WRONG
            lines = [f"{option} = {_toml(value)}" for option, value in given.items()]
            more += [f"[volume.{name}]", 'backend = "netapp"', f'path = "{top}"']
            more += [f"[volume.{name}.options]", *lines]
        directory = tmp_path_factory.mktemp("door")
        settings = settings_in(directory, valkey.url, more="\n".join(more))
        mark(settings, tops)
        yield servers.enter_context(running_door("manager", settings))


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_an_array_takes_and_shows_every_limit(door: RunningDoor) -> None:
    body = {"volume": "array", "qsid": f"user:{uuid4()}"}
    limits = {"limit_bytes": 8 * MIB, "limit_inodes": 1000, "soft_limit_bytes": 4 * MIB}
    assert door.call("POST", "/quota-scope", {**body, "options": limits}).status_code == 204
    shown = door.call("GET", "/quota-scope", body).json()
    assert limits.items() <= shown.items()
    assert shown["used_inodes"] >= 0
    fewer = {"limit_bytes": 2 * MIB, "limit_inodes": None}
    assert door.call("PATCH", "/quota-scope", {**body, "options": fewer}).status_code == 204
    shown = door.call("GET", "/quota-scope", body).json()
    assert shown["limit_bytes"] == 2 * MIB
    assert not {"limit_inodes", "soft_limit_bytes"} & shown.keys()
    wait_for(
        lambda: {"inode-limit", "soft-limit"} <= _capabilities(door), failure="capabilities lack"
    )


def _capabilities(door: RunningDoor) -> set[str]:
    volumes = door.call("GET", "/volumes").json()["volumes"]
    return set(next(one["capabilities"] for one in volumes if one["name"] == "array"))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("name", ["limit_inodes", "soft_limit_bytes"])
def test_a_volume_without_such_limits_refuses_and_changes_nothing(
    door: RunningDoor, method: str, name: str
) -> None:
    body = {"volume": "local", "qsid": f"user:{uuid4()}"}
    options = {"limit_bytes": MIB, name: 10}
    refused = door.call(method, "/quota-scope", {**body, "options": options})
    assert refused.status_code == 400
    assert name in refused.json()["detail"]
    assert door.call("GET", "/quota-scope", body).status_code == 404


def test_a_limit_below_one_is_refused(door: RunningDoor) -> None:
    body = {"volume": "array", "qsid": f"user:{uuid4()}"}
    options = {"limit_bytes": MIB, "limit_inodes": 0}
    refused = door.call("POST", "/quota-scope", {**body, "options": options})
    assert refused.status_code == 400
    assert door.call("GET", "/quota-scope", body).status_code == 404


def test_an_array_that_refuses_the_password_is_a_bad_gateway(door: RunningDoor) -> None:
    body = {"volume": "refusing", "qsid": f"user:{uuid4()}", "options": {"limit_bytes": MIB}}
    refused = door.call("POST", "/quota-scope", body, on_fault=True)
    problem = refused.json()
    assert refused.status_code == problem["status"] == 502
    assert problem["type"].endswith("/problems/storage/external/refused")
    assert problem["error_code"] == "storage-proxy_request_unreachable"
    assert problem["retriable"] is False
    assert WRONG not in refused.text


def test_an_array_that_refuses_the_request_is_a_bad_gateway(
    door: RunningDoor, arrays: dict[str, ontap.OntapSim]
) -> None:
    failure = ontap.JobFailure("5242886", "The operation failed.")
    arrays["array"].job_faults.append(("create qtree", failure, False))
    body = {"volume": "array", "qsid": f"user:{uuid4()}", "options": {"limit_bytes": MIB}}
    refused = door.call("POST", "/quota-scope", body, on_fault=True)
    problem = refused.json()
    assert refused.status_code == problem["status"] == 502
    assert problem["type"].endswith("/problems/storage/external/request-refused")
    assert "5242886" in problem["detail"]
    assert problem["retriable"] is False
