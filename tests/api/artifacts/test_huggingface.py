"""Routes of hubs: search, describe, commits; the events that follow; what a hub refuses."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import requests

from tests.core.events.reader import Heard, Reader
from tests.support.doors import RunningDoor
from tests.support.ends import checked_end
from tests.support.hub import StandInHub
from tests.support.node import wait_for

TOP = "/v1/registries/huggingface"
README = b"# Readme\n"


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


@pytest.fixture
def model(hub: StandInHub) -> str:
    """A new model with two branches and a tag."""
    name = f"org{uuid4().hex[:8]}/model"
    repo = hub.add(name, {"README.md": README, "a.bin": b"x" * 5000})
    repo.commit({"README.md": README}, "other/branch")
    repo.tags["v1"] = repo.branches["main"]
    return name


def encoded(model: str) -> str:
    """The id in a path, as the manager and its URL builder encode it: twice."""
    return quote(quote(model, safe=""), safe="")


def described(heard: Reader, model: str, count: int) -> list[Heard]:
    """The events about the revisions of a model."""

    def found() -> list[Heard]:
        events = [one for one in heard.stream if one.name == "models_metadata_fetch_done"]
        mine = [one for one in events if one.fields["model_id"] == model]
        return mine if len(mine) >= count else []

    return wait_for(found, 60, lambda: f"{heard.errors}")


def test_a_scan_and_its_events(
    manager: RunningDoor, worker: int, heard: Reader, model: str, hub: StandInHub
) -> None:
    hub.add(f"{model}-silent", {"a": b"x"})
    body = {"registry_name": "hub", "limit": 10, "order": "downloads", "search": model, "x": 1}
    found = manager.call("POST", f"{TOP}/scan", body).json()["models"]
    revisions = [one["revision"] for one in found if one["id"] == model]
    assert revisions == ["main", "other/branch", "v1"]
    assert {one["readme"] for one in found} == {one["size"] for one in found} == {None}
    events = described(heard, model, 3)
    assert {one.fields["revision"]: one.fields["size"] for one in events} == {
        "main": 5000 + len(README),
        "other/branch": len(README),
        "v1": 5000 + len(README),
    }
    assert {one.fields["readme_content"] for one in events} == {README.decode()}
    assert {one.fields["registry_name"] for one in events} == {"hub"}
    assert not [one for one in heard.stream if one.fields.get("model_id") == f"{model}-silent"]


@pytest.mark.parametrize("readme", [True, False])
def test_the_job_of_a_scan_says_what_it_described(
    manager: RunningDoor,
    worker: int,
    hub: StandInHub,
    readme: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    name = f"org{uuid4().hex[:8]}"
    hub.add(f"{name}/silent", {"a": b"x"})
    if readme:
        hub.add(f"{name}/described", {"README.md": README})
    body = {"registry_name": "hub", "limit": 10, "order": "downloads", "search": name}
    assert manager.call("POST", f"{TOP}/scan", body).json()["models"]

    def ended() -> dict[str, Any]:
        jobs = manager.call("GET", "/v1/jobs?verb=describe").json()["jobs"]
        return next((one for one in jobs if name in str(one["request"]) and one["done"]), {})

    job = checked_end(wait_for(ended, 60))
    assert job["state"] == ("succeeded" if readme else "partial")
    said = "described 1 revision" if readme else "described nothing"
    assert job["result"]["sentence"].startswith(said)
    assert job["result"]["sentence"].endswith("; 1 revision without a readme, or not read")


def test_a_batch(
    manager: RunningDoor, worker: int, heard: Reader, model: str, hub: StandInHub
) -> None:
    targets: list[dict[str, Any]] = [{"model_id": model, "revision": "v1"}, {"model_id": model}]
    body = {"registry_name": "hub", "models": targets}
    found = manager.call("POST", f"{TOP}/models/batch", body).json()["models"]
    assert [one["revision"] for one in found] == ["v1", "main"]
    assert len(described(heard, model, 2)) == 2
    empty = manager.call("POST", f"{TOP}/models/batch", {"registry_name": "hub", "models": []})
    assert empty.json() == {"models": []}
    absent = body | {"models": [*targets, {"model_id": f"{model}-none"}]}
    answer = manager.call("POST", f"{TOP}/models/batch", absent)
    assert refusal(answer) == (404, "artifact_read_not-found")


def test_one_model_with_readme_and_size(manager: RunningDoor, model: str, hub: StandInHub) -> None:
    path = f"{TOP}/model/{encoded(model)}?registry_name=hub&revision=main"
    found = manager.call("GET", path).json()["model"]
    assert (found["id"], found["readme"], found["size"]) == (
        model,
        README.decode(),
        5000 + len(README),
    )
    hub.add("alone", {"a": b"x"})
    found = manager.call("GET", f"{TOP}/model/alone?registry_name=hub&revision=main").json()
    assert (found["model"]["readme"], found["model"]["size"]) == (None, 1)


def test_the_commit_of_a_revision(manager: RunningDoor, model: str, hub: StandInHub) -> None:
    path = f"{TOP}/model/{encoded(model)}/commit-hash?registry_name=hub"
    branches = hub.repos[model].branches
    assert manager.call("GET", path).json() == {"commit_hash": branches["main"]}
    other = manager.call("GET", f"{path}&revision=other%2Fbranch").json()
    assert other == {"commit_hash": branches["other/branch"]}
    assert refusal(manager.call("GET", f"{path}&revision=none"))[0] == 404


def test_registries_that_are_none(manager: RunningDoor, model: str) -> None:
    absent = (404, "artifact-registry_read_not-found")
    query = "registry_name=nowhere&revision=main"
    for name in ("nowhere", "site"):
        scan = {"registry_name": name, "limit": 1, "order": "likes", "search": None}
        assert refusal(manager.call("POST", f"{TOP}/scan", scan)) == absent
        batch = {"registry_name": name, "models": [{"model_id": model}]}
        assert refusal(manager.call("POST", f"{TOP}/models/batch", batch)) == absent
    for path in (f"{TOP}/model/x?{query}", f"{TOP}/model/x/commit-hash?{query}"):
        answer = manager.call("GET", path)
        assert refusal(answer) == absent
        assert answer.json()["type"].endswith("registries/registry-not-found")


def test_a_hub_that_is_away_or_refuses(manager: RunningDoor, hub: StandInHub, model: str) -> None:
    scan = {"registry_name": "dead", "limit": 1, "order": "likes", "search": None}
    away = manager.call("POST", f"{TOP}/scan", scan, on_fault=True)
    assert refusal(away) == (503, "artifact-registry_request_unreachable")
    hub.fail(f"/api/models/{model}/revision", 403, times=3)
    path = f"{TOP}/model/{encoded(model)}/commit-hash?registry_name=hub"
    refused = manager.call("GET", path, on_fault=True)
    assert refusal(refused) == (502, "artifact-registry_request_unreachable")
    assert hub.token not in refused.text
    hub.failing.clear()


def test_wrong_requests(manager: RunningDoor, model: str) -> None:
    right = {"registry_name": "hub", "limit": 1, "order": "likes", "search": None}
    for wrong in (
        {"limit": 0},
        {"limit": "1"},
        {"order": "name"},
        {"search": 1},
        {"search": "\ud800"},
        {"registry_name": None},
    ):
        answer = manager.call("POST", f"{TOP}/scan", right | wrong)
        assert refusal(answer) == (400, "api_parsing_invalid-parameters"), wrong
    assert manager.send("POST", f"{TOP}/scan", data=b"").status_code == 400
    for path in (
        f"{TOP}/model/{encoded(model)}?registry_name=hub",
        f"{TOP}/model/{encoded(model)}?revision=main",
        f"{TOP}/model/{encoded('../../etc')}?registry_name=hub&revision=main",
        f"{TOP}/model/x?registry_name=hub&revision=..%2Fmain",
    ):
        assert manager.call("GET", path).status_code == 400, path
