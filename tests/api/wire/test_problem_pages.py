"""Every kind of error has a page, and `type` of an error leads there at the door that answered."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from uuid import uuid4

import pytest
import requests

import api
import backends
import core
import workers
from api.doors.pages import sections
from core.errors import PROBLEM_TYPE_BASE, StorageError
from tests.support.doors import AUTH, running_door, settings_in
from tests.support.valkey import Valkey


def kinds() -> set[str]:
    """The kinds of all errors of this project."""
    for room in (core, backends, workers, api):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith(("__main__", "_native")):
                importlib.import_module(module.name)
    return set(of_class(StorageError))


def of_class(error: type[StorageError]) -> Iterator[str]:
    yield error.kind
    for below in error.__subclasses__():
        if below.__module__.partition(".")[0] in ("core", "backends", "workers", "api"):
            yield from of_class(below)


def test_every_kind_has_a_page_and_no_page_is_left_over() -> None:
    assert set(sections("problems.md")) == kinds() | {"storage/http"}


def test_links_of_the_pages_lead_to_pages() -> None:
    text = "".join(sections("problems.md").values())
    assert set(re.findall(r"\]\(/runbooks/(\w+)\)", text)) <= set(sections("runbooks.md"))


#: A request that is refused, and the kind of its error, at each door.
REFUSED = {
    "manager": [
        ("/volumes?as=stranger", "storage/forbidden"),
        ("/folder/fs-usage?volume=none", "storage/invalid-api-params"),
        (f"/v1/jobs/{uuid4()}", "storage/job/not-found"),
        ("/nowhere", "storage/http/404"),
    ],
    "client": [
        ("/download?token=x", "storage/invalid-api-params"),
        ("/nowhere", "storage/http/404"),
    ],
    "internal": [("/nowhere", "storage/http/404")],
}


@pytest.mark.parametrize("door", REFUSED)
def test_the_type_of_an_error_is_a_page(tmp_path: Path, valkey: Valkey, door: str) -> None:
    with running_door(door, settings_in(tmp_path, valkey.url)) as running:
        for path, kind in REFUSED[door]:
            headers = {} if "stranger" in path else AUTH
            refused = requests.get(running.url + path, headers=headers, timeout=60)
            found = refused.json()["type"]
            assert found == PROBLEM_TYPE_BASE + kind, refused.text
            page = requests.get(urljoin(refused.url, found), timeout=60)
            assert page.status_code == 200, page.text
            assert page.headers["Content-Type"].startswith("text/plain")
            assert page.text.startswith(kind.removesuffix("/404") + "\n")
