"""The doors' Flask: hooks work as Flask documents them, and what is overridden answers the same."""

import itertools
from collections.abc import Callable
from http import HTTPStatus
from importlib.metadata import version

import flask
import pytest
import werkzeug
from flask import (
    Blueprint,
    Flask,
    Response,
    appcontext_tearing_down,
    request_tearing_down,
)
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter
from werkzeug.test import create_environ, run_wsgi_app

from api.http import DoorFlask, answer, json, problems
from api.http.flask_app import RequestContext

#: The versions that `api/http/` was read at (docs/dependencies.md).
READ_AT = {"flask": "3.1", "werkzeug": "3.1"}
OVERRIDDEN = {
    *("request_class", "session_interface", "ensure_sync", "create_url_adapter"),
    *("do_teardown_request", "do_teardown_appcontext"),
}
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


def test_the_overridden_methods_are_where_they_were() -> None:
    for library in (flask, werkzeug):
        installed = version(library.__name__)
        assert installed.startswith(READ_AT[library.__name__]), "read the overridden methods again"
    own = {"__module__", "__doc__", "__init__", "_bind_host"}
    assert set(vars(DoorFlask)) - own == OVERRIDDEN
    for name in OVERRIDDEN:
        assert hasattr(Flask, name), name
    assert hasattr(werkzeug.Response, "get_wsgi_response")


def hooked_app(calls: list[str]) -> DoorFlask:
    """An app with every kind of hook, on the app and on a blueprint; each adds its name."""
    app = DoorFlask("x")
    blueprint = Blueprint("part", "x")

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: calls.append(name)

    def passing(name: str) -> Callable[[Response], Response]:
        def hook(response: Response) -> Response:
            calls.append(name)
            return response

        return hook

    app.before_request(noting("app before"))
    app.after_request(passing("app after"))
    app.teardown_request(noting("app teardown"))
    app.teardown_appcontext(noting("context teardown"))
    app.url_value_preprocessor(noting("app values"))
    blueprint.before_request(noting("part before"))
    blueprint.after_request(passing("part after"))
    blueprint.teardown_request(noting("part teardown"))
    blueprint.add_url_rule("/", view_func=lambda: answer({}))
    app.register_blueprint(blueprint)
    return app


def test_every_hook_of_flask_runs() -> None:
    calls: list[str] = []
    assert hooked_app(calls).test_client().get("/").status_code == HTTPStatus.OK
    before = ["app values", "app before", "part before"]
    after = ["part after", "app after"]
    assert calls == [*before, *after, "part teardown", "app teardown", "context teardown"]


def test_signals_at_the_end_are_sent_without_hooks() -> None:
    app = DoorFlask("x")
    app.add_url_rule("/", view_func=lambda: answer({}))
    calls: list[object] = []

    def note(_: Flask, exc: BaseException | None) -> None:
        calls.append(exc)

    with request_tearing_down.connected_to(note), appcontext_tearing_down.connected_to(note):
        assert app.test_client().get("/").status_code == HTTPStatus.OK
    assert calls == [None, None]


def test_hooks_at_the_end_get_the_error() -> None:
    app = DoorFlask("x")
    app.testing = True
    errors: list[object] = []
    app.teardown_request(errors.append)
    app.teardown_appcontext(errors.append)

    def failing() -> Response:
        raise LookupError

    app.add_url_rule("/", view_func=failing)
    with pytest.raises(LookupError) as raised:
        app.test_client().get("/")
    assert errors == [raised.value, raised.value]


def test_a_coroutine_is_refused_by_name() -> None:
    app = DoorFlask("x")

    async def view() -> str:
        return ""

    coroutine = view()
    app.add_url_rule("/", "view", lambda: coroutine)
    app.testing = True
    with pytest.raises(TypeError, match="coroutine"):
        app.test_client().get("/")
    coroutine.close()


def adapter(app: Flask, create: Callable[..., MapAdapter | None], **environ: str) -> object:
    """What rules are searched with, or the class of the error."""
    request = RequestContext({**ENVIRON, **environ})
    try:
        found = create(app, request)
    except HTTPException as error:
        return type(error)
    return request.host, {name: value for name, value in vars(found).items() if name != "map"}


def test_rules_are_searched_as_by_flask() -> None:
    app = DoorFlask("x")
    wrong = []
    for host, scheme in itertools.product(HOSTS, ("http", "https")):
        environ = {"wsgi.url_scheme": scheme} | ({} if host is None else {"HTTP_HOST": host})
        expected = adapter(app, Flask.create_url_adapter, **environ)
        # The first is parsed, the second comes from the cache.
        found = [adapter(app, DoorFlask.create_url_adapter, **environ) for _ in range(2)]
        if found != [expected, expected]:
            wrong.append((host, scheme))
    assert not wrong


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_finished_response_is_sent_as_by_werkzeug(method: str) -> None:
    sent = [
        run_wsgi_app(kind(b"{}", status, content_type="application/json"), create_environ(method=m))
        for kind in (json.FinishedResponse, Response)
        for status, m in ((200, method), (404, method), (204, method), (304, method))
    ]
    plain = [(b"".join(body), status, dict(headers)) for body, status, headers in sent]
    assert plain[:4] == plain[4:]


def test_errors_of_the_framework_are_problems() -> None:
    app = DoorFlask("x")
    problems.install(app)
    response = app.test_client().get("/nope")
    assert (response.status_code, response.content_type) == (404, problems.CONTENT_TYPE)
