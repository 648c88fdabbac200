"""What bodies say of people and moments is kept as records have it, or refused."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import pytest

from api.doors.people.openapi import people_document
from api.schemas.access import CheckAccessBody, ManagedGrantBody
from api.schemas.people import GrantChangeBody, NewGrantBody, NewVFolderBody

USER = UUID(int=1)
BODIES: list[ma.Schema] = [NewGrantBody(), ManagedGrantBody()]


@pytest.mark.parametrize("schema", BODIES, ids=lambda schema: type(schema).__name__)
@pytest.mark.parametrize("text", [str(USER), USER.hex, str(USER).upper()])
def test_a_grant_names_its_user_as_decisions_do(schema: ma.Schema, text: str) -> None:
    """A grant to another spelling would give nothing to anyone."""
    grant = schema.load({"to": f"user:{text}", "permission": "ro"})
    assert grant.to == f"user:{USER}"


@pytest.mark.parametrize("schema", BODIES, ids=lambda schema: type(schema).__name__)
@pytest.mark.parametrize(
    "word", ["user:" + "-" * 36, f"user:{USER}\n", f"user:{USER.hex[:-1]}-", "x", "", 5, None]
)
def test_what_names_nobody_is_refused(schema: ma.Schema, word: Any) -> None:
    with pytest.raises(ma.ValidationError):
        schema.load({"to": word, "permission": "ro"})


@pytest.mark.parametrize("schema", BODIES, ids=lambda schema: type(schema).__name__)
@pytest.mark.parametrize(
    "more",
    [
        {"note": "\ud800"},
        {"expires_at": "2026-01-01T00:00:00"},
        {"expires_at": "2026-01-01"},
        {"expires_at": "0001-01-01"},
        {"expires_at": 5},
    ],
    ids=str,
)
def test_what_no_record_keeps_is_refused(schema: ma.Schema, more: dict[str, Any]) -> None:
    with pytest.raises(ma.ValidationError):
        schema.load({"to": f"user:{USER}", "permission": "ro", **more})


def test_owners_and_changes_have_the_same_rules() -> None:
    made = NewVFolderBody().load({"name": "a", "owner": f"group:{USER.hex}"})
    assert made.owner == f"group:{USER}"
    with pytest.raises(ma.ValidationError):
        GrantChangeBody().load({"note": "\udcff"})
    moment = GrantChangeBody().load({"expires_at": "2026-01-01T01:00:00+01:00"})
    assert moment.given == {"expires_at": 1_767_225_600.0}


@pytest.mark.parametrize(
    ("act", "taken"),
    [
        ("entries.read", True),
        ("grants.leave", True),
        ("jobs.delete-files", True),
        ("vfolders.create", False),
        ("jobs.clone", False),
        ("jobs.read", False),
        ("me.read", False),
        ("link.read", True),
    ],
)
def test_only_acts_about_one_vfolder_are_explained(act: str, *, taken: bool) -> None:
    """Of others the answer would be about something else, and might say yes for no."""
    body = {"subject": f"user:{USER}", "act": act, "vfolder": str(USER)}
    if taken:
        assert CheckAccessBody().load(body).act == act
    else:
        with pytest.raises(ma.ValidationError):
            CheckAccessBody().load(body)


def test_every_route_that_takes_a_key_says_that_it_may_be_reused() -> None:
    for path, methods in people_document()["paths"].items():
        for method in methods.keys() & {"get", "post", "patch", "delete"}:
            operation = methods[method]
            taken = {one.get("name") for one in operation.get("parameters", [])}
            if "Idempotency-Key" in taken:
                assert "422" in operation["responses"], (method, path)
    restore = people_document()["paths"]["/v1/vfolders/{vfolder_id}/restore"]["post"]
    assert "Idempotency-Key" in {one.get("name") for one in restore["parameters"]}
