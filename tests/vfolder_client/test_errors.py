"""Every kind of problem that a person can meet has its exception."""

import pytest

from core.errors import PROBLEM_TYPE_BASE
from vfolder_client import errors


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
