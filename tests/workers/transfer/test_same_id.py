"""A vfolder id that exists on two volumes, as a transfer leaves it: each is a vfolder of its own.

Its files, usage, metadata, uploads and jobs are those of one volume.
"""

from typing import Any
from uuid import uuid4

import pytest

from core.names import VFolderId
from core.redis import Database, connect
from core.uploads.store import vfolder_key
from tests.workers.transfer.conftest import Pair

VOLUMES = ("local", "other")


@pytest.fixture
def twice(pair: Pair) -> str:
    """The id: on `local` with one file, on `other` with that file and one more."""
    vfid, path = pair.folder()
    (path / "a").write_text("alpha")
    pair.done(source=vfid, target=vfid)
    (pair.path(vfid) / "b").write_text("beta")
    return vfid


def ask(pair: Pair, method: str, path: str, **body: Any) -> Any:
    return pair.door.call(method, path, body).json()


def jobs(pair: Pair, **filters: str) -> set[str]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return {job["id"] for job in pair.door.call("GET", f"/v1/jobs?{query}").json()["jobs"]}


def test_each_answers_for_itself(pair: Pair, twice: str) -> None:
    usage = [ask(pair, "GET", "/folder/usage", volume=name, vfid=twice) for name in VOLUMES]
    assert [one["file_count"] for one in usage] == [1, 2]
    for name, payload in zip(VOLUMES, ("b25l", "dHdv"), strict=True):
        stored = {"volume": name, "vfid": twice, "payload": payload}
        assert ask(pair, "POST", "/folder/metadata", **stored) == {"status": "ok"}
    kept = [ask(pair, "GET", "/folder/metadata", volume=name, vfid=twice) for name in VOLUMES]
    assert [one["payload"] for one in kept] == ["b25l", "dHdv"]


def test_their_jobs_are_told_apart(pair: Pair, twice: str) -> None:
    request = {"verb": "usage", "vfolder": twice}
    made = {name: ask(pair, "POST", "/v1/jobs", volume=name, **request)["id"] for name in VOLUMES}
    for job in made.values():
        pair.ended(job)
    (moved,) = jobs(pair, vfolder=twice, verb="transfer")
    assert jobs(pair, vfolder=twice) == {*made.values(), moved}
    for name in VOLUMES:
        assert jobs(pair, vfolder=f"{name}/{twice}") == {made[name], moved}
    assert jobs(pair, vfolder=f"local/{twice.upper()}", verb="usage") == {made["local"]}
    assert jobs(pair, vfolder=f"nas1/{twice}") == set()
    assert jobs(pair, vfolder=f"local/{uuid4().hex}") == set()


@pytest.mark.parametrize("text", ["local/", "/x", "local/x", "local//x", "user:x/y", "a/b/c"])
def test_what_names_no_vfolder_is_refused(pair: Pair, text: str) -> None:
    refused = pair.door.call("GET", f"/v1/jobs?vfolder={text}")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["pointer"] == "/vfolder"


def test_one_is_deleted_and_the_other_stays(pair: Pair, twice: str) -> None:
    opened = {"vfid": twice, "relpath": "new", "size": 5}
    for name in VOLUMES:
        assert ask(pair, "POST", "/folder/file/upload", volume=name, **opened)["token"]
    job = ask(pair, "POST", "/folder/delete", volume="local", vfid=twice)["bgtask_id"]
    assert pair.ended(job)["state"] == "succeeded"
    gone = pair.door.call("GET", "/folder/usage", {"volume": "local", "vfid": twice})
    assert gone.status_code == 404
    assert (pair.path(twice) / "b").read_text() == "beta"
    with connect(pair.settings, Database.UPLOADS) as client:
        uploads = [client.zcard(vfolder_key(name, VFolderId.parse(twice))) for name in VOLUMES]
    assert uploads == [0, 1]
