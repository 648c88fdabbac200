"""The doors' Flask: what it leaves out no door has, and what it does by itself is the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from api.app import client_door, internal_door, manager_door
from api.http import DoorFlask
from api.http.flask_app import RequestContext
from core.settings import Settings
from tests.support.doors import settings_in

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/a/\xc3\xa9/%2F",
    "QUERY_STRING": "b=\xc3\xa9",
    "SERVER_NAME": "192.0.2.1",
    "SERVER_PORT": "6022",
    "wsgi.url_scheme": "http",
}
HOSTS = [None, "x", "X.Example:6022", "x:80", "[::1]:6022", "b\xfccher", "a b", "", "x/y", "a..b"]


@pytest.mark.parametrize("door", [manager_door, client_door, internal_door])
def test_hooks_are_of_the_app_alone(tmp_path: Path, door: Callable[[Settings], Flask]) -> None:
    app = door(settings_in(tmp_path))
    assert set(app.before_request_funcs) | set(app.after_request_funcs) == {None}
    assert not app.url_value_preprocessors
    assert not app.teardown_request_funcs
    assert not app.teardown_appcontext_funcs


def told(app: Flask, create: Callable[..., MapAdapter | None], **environ: str) -> object:
    """What rules are looked for with, or how that is refused."""
    request = RequestContext({**ENVIRON, **environ})
    try:
        adapter = create(app, request)
    except HTTPException as error:
        return type(error)
    found = vars(adapter)
    return request.host, {name: found[name] for name in found if name != "map"}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HOSTS)
def test_rules_are_looked_for_as_by_flask(host: str | None, scheme: str) -> None:
    app = DoorFlask("x")
    environ = {"wsgi.url_scheme": scheme} | ({} if host is None else {"HTTP_HOST": host})
    expected = told(app, Flask.create_url_adapter, **environ)
    for _ in range(2):  # found out, and then known
        assert told(app, DoorFlask.create_url_adapter, **environ) == expected
