"""The usage of a big vfolder: callers wait for one count, and get numbers."""

from concurrent.futures import ThreadPoolExecutor

import requests

from core.jobs.store import LIVE_CHANNEL
from tests.api.jobs.conftest import Site
from tests.support.doors import AUTH
from tests.support.node import wait_for

#: More than the door counts by itself.
MANY = 20_600
CALLERS = 4


def big_vfolder(site: Site) -> str:
    vfid = site.folder(first="12345")
    for index in range(MANY - 1):
        (site.path(vfid) / str(index)).touch()
    return vfid


def test_callers_share_one_count(at_rest: Site) -> None:
    vfid = big_vfolder(at_rest)
    body = {"volume": "local", "vfid": vfid}
    own = at_rest.begun("usage", vfolder=vfid, label="asked before")

    def ask(path: str) -> requests.Response:
        return requests.get(at_rest.door.url + path, json=body, headers=AUTH, timeout=120)

    def counts() -> list[str]:
        found = at_rest.door.call("GET", f"/v1/jobs?verb=usage&vfolder={vfid}").json()["jobs"]
        return [job["id"] for job in found]

    with ThreadPoolExecutor(CALLERS) as pool:
        paths = ["/folder/usage", "/folder/used-bytes"] * (CALLERS // 2)
        answers = [pool.submit(ask, path) for path in paths]
        wait_for(lambda: at_rest.redis.pubsub_numsub(LIVE_CHANNEL)[0][1])  # a caller waits
        assert at_rest.door.call("POST", "/v1/volumes/local/resume").status_code == 204
        found = [answer.result() for answer in answers]
    assert [answer.status_code for answer in found] == [200] * CALLERS
    assert found[0].json()["file_count"] == MANY
    assert found[0].json()["used_bytes"] == 5
    assert found[1].json()["used_bytes"] > 0
    assert all(answer.json()["as_of"] for answer in found)
    assert counts() == [own]
    again = at_rest.door.call("GET", "/folder/usage", body).json()
    assert again["file_count"] == MANY
    assert counts() == [own]  # figures of a moment ago are returned
