"""The tables of routes in docs/wire.md: complete, and each route is in its app and has its test."""

import pytest
from flask import Flask

from api.app import client_door, internal_door, manager_door
from core.settings import Settings
from tests.support.wire_table import DOORS, ROOT, rows

#: Routes of the documents, and those that are in the OpenAPI document only.
_OF_ARTIFACTS = ("/v1/storages/", "/v1/registries/")
_ELSEWHERE = ("/v1/", "/runbooks/", "/problems/", "/docs", "/redoc", "/openapi.json", "/static/")
_APPS = {"manager": manager_door, "client": client_door, "internal": internal_door}


def routes(app: Flask) -> set[tuple[str, str]]:
    """Every route that a door has, but for the HEAD and the OPTIONS that Flask adds itself."""
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if (rule.rule.startswith(_OF_ARTIFACTS) or not rule.rule.startswith(_ELSEWHERE))
        and (method != "HEAD" or "GET" not in (rule.methods or ()))
        and (method != "OPTIONS" or not rule.provide_automatic_options)
    }


@pytest.mark.parametrize("door", DOORS)
def test_the_table_has_every_route_of_the_app(settings: Settings, door: str) -> None:
    listed = [(row.method, row.path) for row in rows() if row.door == door]
    assert len(listed) == len(set(listed))
    assert set(listed) == routes(_APPS[door](settings))


def test_the_named_tests_exist() -> None:
    missing = [
        f"{row.file}::{row.test}"
        for row in rows()
        if f"\ndef {row.test}(" not in (ROOT / row.file).read_text("utf-8")
    ]
    assert not missing, "\n".join(missing)
