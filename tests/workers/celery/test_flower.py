"""Flower needs its login at every route, those that it leaves open by itself too."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flower.app
import flower.urls
import pytest
import requests
from tornado.web import Application

from core.process import end_with_parent
from core.settings import CONFIG_VARIABLE
from tests.support.doors import settings_in
from tests.support.node import ROOT, wait_for
from tests.support.ports import free_port
from tests.support.valkey import Valkey

LOGIN = ("operator", "password-of-the-tests")
#: Where this differs, read `Flower.find_handler` and the routes of Flower again.
READ_AT = {"flower": "2.2", "tornado": "6.6"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("flower")
    port = free_port()
    more = (
        f'[vfolder.flower]\naddr = "127.0.0.1:{port}"\nurl-prefix = "/tasks"\n'
        f'password = "{LOGIN[1]}"\n'
    )
    settings = settings_in(directory, valkey.url, more)
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.serve", "flower"],
            cwd=ROOT,
            env=os.environ | {CONFIG_VARIABLE: settings.origin},
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl only
        )
    at = f"http://{settings.vfolder.flower.address}/tasks"
    try:
        wait_for(lambda: answers(at, process, log), 120)
        yield at
    finally:
        process.kill()
        process.wait(60)


def answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with suppress(requests.ConnectionError):
        requests.get(url, timeout=60)
        return True
    return False


def paths() -> list[str]:
    """A path of every route of Flower, of tornado's own files, and one without a route."""
    known: list[Any] = flower.urls.handlers
    patterns = [one[0] if isinstance(one, tuple) else one.regex.pattern for one in known]
    plain = [
        pattern.removesuffix("$").replace("(.+)", "x").replace("(.*)", "x").replace("/?", "")
        for pattern in patterns
    ]
    return sorted({*plain, "/static/css/flower.css", "/favicon.ico", "/nowhere"} - {".*"})


@pytest.mark.parametrize("library", READ_AT)
def test_the_version_is_the_one_that_was_read(library: str) -> None:
    assert version(library).startswith(f"{READ_AT[library]}")
    assert "find_handler" not in vars(flower.app.Flower)
    assert "find_handler" in vars(Application)


def test_no_route_answers_without_the_login(url: str) -> None:
    assert {"/metrics", "/healthcheck", "/api/tasks", "/"} <= set(paths())
    for path in paths():
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            for login in (None, (LOGIN[0], "wrong"), (LOGIN[0], "")):
                answer = requests.request(method, url + path, auth=login, timeout=60)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"].startswith("Basic")
                assert b"flower_" not in answer.content


def test_every_open_route_answers_with_it(url: str) -> None:
    for path in ("/metrics", "/healthcheck", "/static/css/flower.css", "/"):
        assert requests.get(url + path, auth=LOGIN, timeout=60).status_code == 200, path
