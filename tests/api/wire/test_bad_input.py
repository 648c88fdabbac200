"""Whatever is wrong in a request: a 4xx problem, nothing changed on disk, no host path told."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support.doors import RunningDoor
from tests.support.manager_bodies import RIGHT, filled, wrong_bodies
from tests.support.trees import snapshot


def refused(manager: RunningDoor, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Send it, expect a 4xx problem as documented, and give the problem."""
    response = manager.send(method, path, **options)
    assert 400 <= response.status_code < 500, (response.status_code, response.text)
    assert response.headers["Content-Type"] == "application/problem+json"
    manager.document.check(method, path, response)
    problem: dict[str, Any] = response.json()
    return problem


def test_every_act_is_in_the_table(manager: RunningDoor) -> None:
    acts = {
        (method.upper(), path)
        for path, operations in manager.document.content["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation and not path.startswith("/v1/")
    }
    assert acts == set(RIGHT)


@pytest.mark.parametrize("act", RIGHT, ids=" ".join)
def test_right_bodies_are_taken(
    manager: RunningDoor, vfid: str, root: Path, act: tuple[str, str]
) -> None:
    response = manager.call(*act, filled(RIGHT[act], vfid))
    text = response.text
    refusals = {"vfolder_request_not-implemented", "already-exists"}
    assert response.ok or any(code in text for code in refusals), text


@pytest.mark.parametrize("act", RIGHT, ids=" ".join)
def test_wrong_values(
    manager: RunningDoor, settings: Settings, vfid: str, root: Path, act: tuple[str, str]
) -> None:
    before = snapshot(root)
    scopes = sorted((settings.directory / "local").iterdir())
    for method, path, key, body in wrong_bodies():
        if (method, path) != act:
            continue
        problem = refused(manager, method, path, json=filled(body, vfid))
        assert str(settings.directory) not in str(problem), body
        assert key.endswith("volume") or {"errors", "errno"} & problem.keys(), body
    assert snapshot(root) == before
    assert sorted((settings.directory / "local").iterdir()) == scopes


@pytest.mark.parametrize("act", RIGHT, ids=" ".join)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"1",
        b"NaN",
        b'{"volume": NaN}',
        b'{"volume": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe\x00",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        '{"volume": "Ж"}'.encode("utf-16"),
    ],
    ids=range(14),
)
def test_bodies_that_are_no_object(manager: RunningDoor, act: tuple[str, str], data: bytes) -> None:
    problem = refused(manager, *act, data=data)
    assert problem["data"] is not None


@pytest.mark.parametrize("act", RIGHT, ids=" ".join)
def test_bodies_over_the_limit(manager: RunningDoor, act: tuple[str, str]) -> None:
    size = 1024 * 1024 + 1 if act[1] != "/folder/metadata" or act[0] == "GET" else 15 * 1024 * 1024
    refused_with = refused(manager, *act, data=b" " * size)
    assert refused_with["status"] == 413

    def pieces() -> Any:  # without a length: chunked
        for _ in range(size // 65536 + 1):
            yield b" " * 65536

    assert refused(manager, *act, data=pieces())["status"] == 413


def test_many_errors_are_counted(manager: RunningDoor, vfid: str) -> None:
    body = {"volume": "local", "vfid": vfid, "relpaths": list(range(1000))}
    problem = refused(manager, "POST", "/folder/file/delete", json=body)
    assert len(problem["errors"]) == 100
    assert problem["errors_omitted"] == 900
    assert problem["errors"][0]["pointer"] == "/relpaths/0"


def test_errors_point_into_the_body(manager: RunningDoor, vfid: str) -> None:
    body = {"volume": "local", "qsid": vfid.partition("/")[0], "options": {"limit_bytes": "x"}}
    problem = refused(manager, "POST", "/quota-scope", json=body)
    assert problem["errors"] == [
        {"pointer": "/options/limit_bytes", "detail": "Not a valid integer."},
    ]
    assert problem["data"] == {"options": {"limit_bytes": "Not a valid integer."}}
    odd = refused(manager, "GET", "/folder/fs-usage", data=json.dumps({"a/b~c": 1, "volume": "x"}))
    assert odd["errors"][0]["pointer"] == "/a~1b~0c"


@pytest.mark.parametrize("path", ["/", "/status", "/volumes"])
@pytest.mark.parametrize("data", [b"{}", b"x", b" "])
def test_no_body_where_none_is_taken(manager: RunningDoor, path: str, data: bytes) -> None:
    response = manager.send("GET", path, data=data)
    assert response.status_code == 400
    assert response.json()["type"].endswith("/storage/malformed-request")
