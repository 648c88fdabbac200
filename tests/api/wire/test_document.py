"""The OpenAPI document: committed, complete, valid, and shown by pages that need no one else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from api.app import client_door, internal_door, manager_door
from api.doors.client.openapi import client_document
from api.doors.manager.openapi import manager_document
from core.jobs.store import INDEXED
from core.settings import Settings
from tests.support.doors import RunningDoor, running_door

ROOT = Path(__file__).resolve().parents[3]
RENEW = "run `python -m api.doors.manager.openapi > docs/openapi.json` and look at the difference"
#: Routes that describe the others, and the one that only other nodes of this service call.
UNDESCRIBED = {
    "/openapi.json",
    "/docs",
    "/redoc",
    "/docs/{name}",
    "/runbooks/{name}",
    "/problems/{kind}",
}
UNDESCRIBED |= {"/v1/node/operations", "/v1/node/trees"}


def operations(*, people: bool = True) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The operations of the manager door, those about people's access among them."""
    for path, item in manager_document(people=people)["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method, path, operation


def test_the_committed_document_is_that_of_the_code() -> None:
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert committed == json.loads(json.dumps(manager_document())), RENEW


def test_every_route_is_described(settings: Settings) -> None:
    described = {(method.upper(), path) for method, path, _ in operations(people=False)}
    routed = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in manager_door(settings).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {act for act in routed if act[1] not in UNDESCRIBED} == described


#: Routes of the client door that are no part of its API: preflights, and files of pages.
PAGES_OF_CLIENT = {"/page/{name}", "/docs", "/docs/{name}", "/redoc", "/openapi.json"}
PAGES_OF_CLIENT |= {"/problems/{kind}", "/runbooks/{name}"}
PREFLIGHTS = {("OPTIONS", path) for path in ("/", "/download", "/download-archive")}


def client_operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in client_document()["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_the_document_of_the_client_door_is_committed_and_complete(settings: Settings) -> None:
    committed = json.loads((ROOT / "docs" / "openapi-client.json").read_text("utf-8"))
    assert committed == json.loads(json.dumps(client_document())), RENEW.replace(
        "manager.openapi > docs/openapi.json", "client.openapi > docs/openapi-client.json"
    )
    described = {(method.upper(), path) for method, path, _ in client_operations()}
    routed = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in client_door(settings).url_map.iter_rules()
        for method in rule.methods or ()
        if (method != "HEAD" or "GET" not in (rule.methods or ()))
        and (method != "OPTIONS" or not rule.provide_automatic_options)
    }
    assert {one for one in routed - PREFLIGHTS if one[1] not in PAGES_OF_CLIENT} == described


def test_the_client_door_describes_what_its_views_read() -> None:
    described: dict[str, set[str]] = {}
    for method, path, operation in client_operations():
        assert operation["summary"].endswith("."), path
        names = {one["name"] for one in operation["parameters"]}
        described.setdefault(path, set()).update(names)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in response["content"], (method, path, status)
    assert described["/download"] >= {"token", "dst_dir", "archive", "no_cache", "format"}
    assert described["/download"] >= {"tolerant", "Range", "If-Range", "If-None-Match"}
    sent = {"Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"}
    sent |= {"Upload-Metadata", "Upload-Concat", "Upload-Checksum", "X-HTTP-Method-Override"}
    assert described["/upload"] >= sent | {"token", "dst_dir"}


@pytest.mark.parametrize("door", [manager_door, client_door, internal_door])
def test_each_door_shows_its_document_and_where_it_listens(settings: Settings, door: Any) -> None:
    shown = door(settings).test_client().get("/openapi.json").get_json()
    own = client_document() if door is client_door else manager_document()
    assert shown["info"] == own["info"]
    url = settings.api.manager.url if door is internal_door else "/"
    assert [server["url"] for server in shown["servers"]] == [url]


def test_every_operation_is_told_to_users() -> None:
    names = set()
    for method, path, operation in operations():
        case = f"{method} {path}"
        assert operation["summary"].endswith("."), case
        assert operation["operationId"] not in names, case
        names.add(operation["operationId"])
        assert set(operation["responses"]) >= {"500"}, case
        for status, response in operation["responses"].items():
            assert response["description"], f"{case} {status}"
            assert "X-Request-ID" in response["headers"], f"{case} {status}"


def test_every_parameter_that_a_view_reads_is_described() -> None:
    described = {
        (parameter["in"], parameter["name"].lower())
        for _, _, operation in operations()
        for parameter in operation["parameters"]
    }
    sources = [*(ROOT / "api/doors/manager").rglob("*.py"), ROOT / "api/routes/job_answers.py"]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    headers = set(re.findall(r'request\.headers\.get\("([\w-]+)"', text))
    arguments = set(re.findall(r'request\.args\.get\("([\w-]+)"', text))
    assert headers >= {"Prefer", "Idempotency-Key", "Last-Event-ID"}
    assert {("header", name.lower()) for name in headers} <= described
    assert {("query", name) for name in arguments} <= described
    names = {name for place, name in described if place == "query"}
    of_jobs = {*INDEXED, "since", "limit", "cursor", "only", "format"}
    assert names == of_jobs | {"registry_name", "revision"} | {"for", "want"}


def test_every_answer_says_its_content_type_and_schema() -> None:
    for method, path, operation in operations():
        assert "X-Request-ID" in {one["name"] for one in operation["parameters"]}
        for status, response in operation["responses"].items():
            for kind, media in response.get("content", {}).items():
                assert media["schema"] or kind == "text/event-stream", f"{method} {path} {status}"
    assert [server["url"] for server in manager_document()["servers"]] == ["/"]


def test_its_schemas_are_json_schema() -> None:
    for name, schema in manager_document()["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "x-" not in json.dumps(schema).replace("x-www", ""), name


@pytest.mark.parametrize(
    "name",
    [
        "/docs",
        "/redoc",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/redoc.standalone.js",
        "/docs/swagger-start.js",
        "/openapi.json",
    ],
)
def test_pages_come_from_here(settings: Settings, internal: RunningDoor, name: str) -> None:
    response = internal.send("GET", name)
    assert response.status_code == 200
    assert len(response.content) > 50
    if name in ("/docs", "/redoc"):
        links = re.findall(r'(?:src|href|spec-url)="([^"]+)"', response.text)
        assert links
        for link in links:
            if link == "data:,":  # no icon
                continue
            assert "//" not in link
            assert internal.send("GET", f"/{link}").status_code == 200
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["/docs", "/redoc", "/openapi.json", "/docs/swagger-start.js"])
def test_pages_of_the_manager_door_need_no_secret(manager: RunningDoor, name: str) -> None:
    assert requests.get(f"{manager.url}{name}", timeout=60).status_code == 200
    assert requests.post(f"{manager.url}{name}", timeout=60).status_code == 403


@pytest.mark.parametrize("name", ["/docs/../app.py", "/docs/app.py", "/docs/%2e%2e/app.py"])
def test_nothing_else_is_a_page(internal: RunningDoor, name: str) -> None:
    assert internal.send("GET", name).status_code == 404


@pytest.fixture(scope="module", name="internal")
def running_internal_door(settings: Settings) -> object:
    with running_door("internal", settings) as door:
        yield door
