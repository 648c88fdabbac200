"""What every route of every door has in common: the secret, the problem shape, request ids."""

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.app import client_door, internal_door, manager_door
from core.process.version import VERSION
from core.settings import Settings
from tests.support.doors import SECRET, settings_in

AUTH = {"X-BackendAI-Storage-Auth-Token": SECRET}
MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "msg",
    "error_code",
    "retriable",
    "request_id",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("door"))


@pytest.fixture(scope="module")
def manager(settings: Settings) -> Flask:
    return manager_door(settings)


def problem(response: TestResponse, status: int) -> dict[str, object]:
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    document: dict[str, object] = response.get_json(force=True)
    assert document.keys() >= MEMBERS
    assert document["status"] == status
    assert document["msg"] == document["detail"]
    assert str(document["error_code"]).count("_") == 2
    return document


@pytest.mark.parametrize("headers", [{}, {"X-BackendAI-Storage-Auth-Token": ""}])
@pytest.mark.parametrize("path", ["/volumes", "/no/such/route", "/folder/create"])
def test_stranger_learns_nothing(manager: Flask, path: str, headers: dict[str, str]) -> None:
    problem(manager.test_client().get(path, headers=headers), 403)


@pytest.mark.parametrize("wrong", ["x", SECRET[:-1], SECRET + "x", "Ж".encode().decode("latin-1")])
def test_wrong_secret_is_forbidden(manager: Flask, wrong: str) -> None:
    headers = {"X-BackendAI-Storage-Auth-Token": wrong}
    document = problem(manager.test_client().post("/status", headers=headers), 403)
    assert SECRET not in str(document)


@pytest.mark.parametrize("path", ["/", "/status", "/version", "/health", "/livez", "/readyz"])
def test_probes_need_no_secret(manager: Flask, path: str) -> None:
    status = manager.test_client().get(path).status_code
    assert status == 200 or (path, status) == ("/readyz", 503), "there is no store here"
    assert manager.test_client().head(path).status_code == 403


def test_unknown_route_with_secret(manager: Flask) -> None:
    document = problem(manager.test_client().get("/no/such//route", headers=AUTH), 404)
    assert document["error_code"] == "api_request_not-found"


def test_wrong_method_names_the_right_ones(manager: Flask) -> None:
    response = manager.test_client().delete("/status", headers=AUTH)
    problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_body_on_a_route_without_parameters(manager: Flask) -> None:
    document = problem(manager.test_client().get("/status", data=b"{}"), 400)
    assert str(document["type"]).endswith("storage/malformed-request")


def test_request_id_is_kept_or_made(manager: Flask) -> None:
    client = manager.test_client()
    kept = client.get("/nothing", headers={**AUTH, "X-Request-ID": "abc-1"})
    assert kept.headers["X-Request-ID"] == problem(kept, 404)["request_id"] == "abc-1"
    made = client.get("/nothing", headers={**AUTH, "X-Request-ID": "a b\x7f" * 99})
    assert made.headers["X-Request-ID"] == problem(made, 404)["request_id"]
    assert " " not in made.headers["X-Request-ID"]


def test_what_is_unforeseen_says_nothing_of_the_program(settings: Settings) -> None:
    manager = manager_door(settings)

    @manager.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("/secret/host/path")

    document = problem(manager.test_client().get("/broken", headers=AUTH), 500)
    assert "path" not in str(document)
    assert "Zero" not in str(document)


@pytest.mark.parametrize("door", [client_door, internal_door])
def test_other_doors_have_the_same_shape(settings: Settings, door: object) -> None:
    assert callable(door)
    problem(door(settings).test_client().get("/nothing"), 404)


@pytest.mark.parametrize("door", [manager_door, client_door, internal_door])
def test_every_door_says_its_version(settings: Settings, door: object) -> None:
    assert callable(door)
    response = door(settings).test_client().get("/version")
    assert response.get_json() == {"component": "storage-proxy", "version": VERSION}


def test_metrics_are_text(settings: Settings) -> None:
    response = internal_door(settings).test_client().get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain")
