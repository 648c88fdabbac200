"""Every kind of problem that a person can meet has its exception."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import api
import backends
import core
from core.errors import PROBLEM_TYPE_BASE, StorageError
from vfolder_client import errors

#: Kinds that no route for people answers: of artifacts, tickets, the manager door and the start.
OTHERS = (
    "storage/object-type-invalid",
    "storage/path-refused",
    "storage/path-not-found",
    "storage/file-too-large",
    "storage/object/deletion/failed",
    "storage/snapshot/",
    "storage/usage/",
    "storage/vfolder/not-mountable",
    "registries/",
    "storage/config/",
    "jwt-",
)


def classes(kind: type[StorageError] = StorageError) -> Iterator[type[StorageError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from classes(below)


@pytest.fixture(scope="module")
def served() -> dict[str, int]:
    """The kinds that the service answers, each with a status."""
    for room in (core, backends, api):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            wanted = "vendored" not in module.name and not module.name.endswith("__main__")
            if wanted and "artifacts" not in module.name and ".cli" not in module.name:
                importlib.import_module(module.name)
    ours = ("core.", "backends.", "api.")
    found = [one for one in classes() if one.__module__.startswith(ours)]
    return {one.kind: int(one.status) for one in found if not one.kind.startswith(OTHERS)}


def test_every_kind_has_a_class(served: dict[str, int]) -> None:
    assert sorted(served.keys() - errors.kinds()) == []


def test_no_class_is_for_a_kind_that_is_not_served(served: dict[str, int]) -> None:
    assert sorted(errors.kinds() - served.keys()) == ["storage/http/412"]


def test_a_problem_becomes_the_class_of_its_kind() -> None:
    members = {
        "type": f"{PROBLEM_TYPE_BASE}auth/forbidden",
        "title": "Not permitted",
        "detail": "Ask the owner for rw.",
        "error_code": "auth_execute_unauthorized",
        "retriable": False,
        "needed": "rw",
        "have": "ro",
        "request_id": "r1",
    }
    found = errors.problem_of(403, members)
    assert type(found) is errors.AccessForbidden
    assert isinstance(found, errors.NotPermitted)
    assert (found.needed, found.have, str(found)) == ("rw", "ro", "Ask the owner for rw.")
    assert (found.request_id, found.retriable) == ("r1", False)


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (400, errors.BadRequest),
        (401, errors.NotAuthenticated),
        (403, errors.NotPermitted),
        (404, errors.Absent),
        (409, errors.Refused),
        (410, errors.Absent),
        (412, errors.PreconditionFailed),
        (422, errors.BadRequest),
        (423, errors.TryLater),
        (429, errors.TryLater),
        (500, errors.ServerFailed),
        (502, errors.ServerFailed),
        (503, errors.TryLater),
        (507, errors.LimitReached),
    ],
)
def test_an_unknown_kind_is_what_its_status_means(
    status: int, family: type[errors.Problem]
) -> None:
    found = errors.problem_of(status, {"type": f"{PROBLEM_TYPE_BASE}storage/of/tomorrow"})
    assert type(found) is family
    assert found.retriable == (family is errors.TryLater)


def test_fields_name_what_is_wrong() -> None:
    members = {"errors": [{"pointer": "/name", "detail": "is too long"}]}
    assert errors.problem_of(400, members).fields == ["/name: is too long"]
