"""`Prefer: wait` of people: at most `waits` of them hold a thread; others are answered at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from core.access import AccessCache
from core.redis import Database, connect
from tests.api.people.conftest import MORE, People
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import running_valkey

WAITS = 2
FEW = MORE.replace("processes = 1", f"processes = 1\nwaits = {WAITS}\nthreads = {WAITS + 2}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A door without a worker: jobs wait. Two more threads than callers that may hold one."""
    directory = tmp_path_factory.mktemp("waits")
    for name in ("second", "valkey"):
        (directory / name).mkdir()
    with running_valkey(directory / "valkey") as valkey:
        settings = settings_in(directory, valkey.url, FEW)
        with running_door("client", settings) as door, connect(settings, Database.LIVE) as client:
            cache = AccessCache(settings)
            secrets, volumes = [settings.storage_proxy.secret], LocalVolumes(settings)
            subjects = SubjectStore("local", secrets, volumes, client, announce=cache.changed)
            yield People(settings, door, subjects, cache)


def test_more_callers_than_may_wait(alone: People) -> None:
    owner = alone.person()
    vfolder = alone.vfolder(owner, a="1")
    count = f"/v1/vfolders/local:{vfolder.id}/usage"
    made = alone.call(owner, "POST", count)
    assert made.status_code == 202, made.text
    path = f"/v1/jobs/{made.json()['id']}"

    def patient(_: int) -> requests.Response:
        headers = {**owner.headers, "Prefer": "wait=60"}
        return requests.get(alone.door.url + path, headers=headers, timeout=120)

    with ThreadPoolExecutor(3 * WAITS) as pool:
        callers = [pool.submit(patient, number) for number in range(3 * WAITS)]
        wait_for(lambda: sum(one.done() for one in callers) == 2 * WAITS)
        for one in callers:
            if one.done():
                assert one.result().json()["state"] == "queued"
                assert "Preference-Applied" not in one.result().headers
        # The threads that are left answer.
        assert alone.call(owner, "GET", "/v1/me").status_code == 200
        joined = alone.call(owner, "POST", count, headers={"Prefer": "wait=60"})
        assert joined.status_code == 202
        assert "Preference-Applied" not in joined.headers
        assert alone.call(owner, "POST", f"{path}/cancel").status_code == 202
        answers = [one.result() for one in callers]
    applied = [one for one in answers if "Preference-Applied" in one.headers]
    assert len(applied) == WAITS
    assert all(one.json()["done"] for one in applied)
