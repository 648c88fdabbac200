"""Any mistake in a request: a 4xx problem, no change on disk, no path of the host in the answer."""

import json
from typing import Any

from backends.mounted import counters
from core.settings import Settings
from tests.api.wire.conftest import make_vfolder, new_vfid
from tests.support.doors import RunningDoor
from tests.support.manager_bodies import RIGHT, filled, wrong_bodies
from tests.support.trees import snapshot


def refused(manager: RunningDoor, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Send a request and return the 4xx problem that it gets, as documented."""
    response = manager.send(method, path, **options)
    assert 400 <= response.status_code < 500, (response.status_code, response.text)
    assert response.headers["Content-Type"] == "application/problem+json"
    manager.document.check(method, path, response)
    problem: dict[str, Any] = response.json()
    return problem


def test_every_operation_with_a_body_is_in_the_table(manager: RunningDoor) -> None:
    operations = {
        (method.upper(), path)
        for path, methods in manager.document.content["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation and not path.startswith("/v1/")
    }
    assert operations == set(RIGHT)


_NO_QUOTA_OF_VFOLDERS = (400, "vfolder_request_not-implemented")
#: Operations that answer an error to a right body: quotas belong to quota scopes.
RIGHT_ERRORS = {
    ("GET", "/volume/quota"): _NO_QUOTA_OF_VFOLDERS,
    ("PATCH", "/volume/quota"): _NO_QUOTA_OF_VFOLDERS,
}
#: Operations that make what the others need.
CREATIONS = {("POST", "/quota-scope"), ("POST", "/folder/create")}


def test_right_bodies_are_taken(manager: RunningDoor, settings: Settings) -> None:
    expected = dict(RIGHT_ERRORS)
    if counters(settings.directory) is None:  # the kernel counts nothing of this file system
        expected["GET", "/volume/performance-metric"] = (501, "vfolder_request_not-implemented")
    wrong = []
    for operation, right in RIGHT.items():
        vfid = new_vfid()
        if operation not in CREATIONS:
            make_vfolder(settings, vfid)
        response = manager.call(*operation, filled(right, vfid), on_fault=operation in expected)
        answer = None if response.ok else (response.status_code, response.json()["error_code"])
        if answer != expected.get(operation):
            wrong.append(f"{operation}: {answer} {response.text}")
    assert not wrong, "\n".join(wrong)


def test_wrong_values(manager: RunningDoor, settings: Settings) -> None:
    """Every wrong value of every key is refused, and nothing changes on disk."""
    wrong = []
    vfids = {operation: new_vfid() for operation in RIGHT}
    roots = [make_vfolder(settings, vfid) for vfid in vfids.values()]
    before = [snapshot(root) for root in roots]
    scopes = sorted((settings.directory / "local").iterdir())
    for method, path, key, body in wrong_bodies():
        sent = filled(body, vfids[method, path])
        if path == "/folder/delete" and sent.get("volume") == "nowhere":
            continue  # its job fails at once: the manager waits for the event
        try:
            problem = refused(manager, method, path, json=sent)
            assert str(settings.directory) not in str(problem)
            assert key.endswith("volume") or {"errors", "errno"} & problem.keys()
        except AssertionError as error:
            wrong.append(f"{method} {path} {str(sent)[:200]}: {error}")
    assert not wrong, "\n".join(wrong)
    assert [snapshot(root) for root in roots] == before
    assert sorted((settings.directory / "local").iterdir()) == scopes


NO_OBJECTS = (
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
)


def test_bodies_that_are_no_object(manager: RunningDoor) -> None:
    wrong = []
    for operation in RIGHT:
        for data in NO_OBJECTS:
            try:
                assert refused(manager, *operation, data=data)["data"] is not None
            except AssertionError as error:
                wrong.append(f"{operation} {data[:40]!r}: {error}")
    assert not wrong, "\n".join(wrong)


#: Routes that take larger bodies, and a size (bytes) that is too large for them.
LARGE = {
    "/folder/metadata": 15 * 1024 * 1024,
    "/folder/file/archive-download-token": 16 * 1024 * 1024 + 1,
}


def test_bodies_over_the_limit(manager: RunningDoor) -> None:
    wrong = []
    for operation in RIGHT:
        size = LARGE.get(operation[1], 1024 * 1024 + 1)

        def pieces(size: int = size) -> Any:  # without a length: chunked
            for _ in range(size // 65536 + 1):
                yield b" " * 65536

        for data in (b" " * size, pieces()):
            try:
                assert refused(manager, *operation, data=data)["status"] == 413
            except AssertionError as error:
                wrong.append(f"{operation}: {error}")
    assert not wrong, "\n".join(wrong)


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


def test_no_body_where_none_is_taken(manager: RunningDoor) -> None:
    for path in ("/", "/status", "/volumes"):
        for data in (b"{}", b"x", b" "):
            response = manager.send("GET", path, data=data)
            assert response.status_code == 400, (path, data)
            assert response.json()["type"].endswith("/storage/malformed-request")
