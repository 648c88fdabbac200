"""Pictures of every page of the console, for docs/images/console: `make screenshots`.

Each page is taken light and dark at 1200 px, and light on a phone of 360 px, on a real node with
people, folders and jobs. Reviewers compare them with those before; times and ids differ.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.api.people.conftest import MORE, People, Person, grant_to, running_people
from tests.api.people.console.conftest import PATIENCE_MS
from tests.api.people.console.test_operators_of_console import PAGES as OPERATORS
from tests.support.chromium import program
from tests.support.node import ROOT

DIRECTORY = ROOT / "docs/images/console"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "light",
        "has_touch": True,
    },
}
_QUALITY = 65
_NOTEBOOK = '{"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "# Loss of run 7"}]}'
_README = """# corpus-2026

Texts of **2026**, counted on Mondays.

| part | files |
|---|--:|
| raw | 7 |
"""


def main(directory: Path) -> None:
    """Take all pictures into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as site,
        running_people(Path(site), MORE) as people,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path=program(), args=["--no-sandbox", "--disable-gpu"]
        )
        owner, operator = people.person(), people.operator()
        pages = _people_pages(people, owner)
        take_all(browser, people, owner, pages, directory)
        own = {f"op-{name.replace('/', '-')}": f"/console/op/{name}" for name in OPERATORS}
        own["op-people"] += f"?user={owner.id}"
        take_all(browser, people, operator, own, directory)
        take_all(browser, people, None, {"sign-in": "/console"}, directory)
        browser.close()


def _made(people: People, owner: Person, name: str, **files: str) -> str:
    """The reference of a new folder with a name and files."""
    body = {"name": name, "volume": "local"}
    answer = people.call(owner, "POST", "/v1/vfolders", body)
    folder = answer.json()["id"]
    root = next(people.settings.directory.glob(f"local/*/*/*/{folder.replace('-', '')[4:]}"))
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return f"local:{folder}"


def _people_pages(people: People, owner: Person) -> dict[str, str]:
    """Fill the node; return the address of each page by the name of its picture."""
    friend = people.person()
    people.group(friend, admins=(owner,))
    files = {f"raw/part-{number:02}.jsonl": "{}\n" * number * 999 for number in range(7)}
    more = {"README.md": _README, "run-7.ipynb": _NOTEBOOK, "counts.csv": "part,files\nraw,7\n"}
    corpus = _made(people, owner, "corpus-2026", **files, **more)
    for name in ("models", "reports", "old runs"):
        _made(people, owner, name, **{"a.txt": "a"})
    base = f"/v1/vfolders/{corpus}"
    people.call(owner, "POST", f"{base}/grants", {"to": friend.word, "permission": "ro"})
    link = people.call(owner, "POST", f"{base}/links", {"kind": "read", "path": ""}).json()
    job = people.call(owner, "POST", f"{base}/usage").json()["id"]
    removed = people.call(owner, "POST", f"{base}/delete", {"paths": ["raw/part-01.jsonl"]}).json()
    gone = _made(people, owner, "wrong name")
    deleted = people.call(owner, "DELETE", f"/v1/vfolders/{gone}").json()
    for one in (job, removed["id"], deleted["id"]):
        people.ended(owner, one)
    shared = people.vfolder(friend, **{"a.txt": "a"})
    people.grant(shared, grant_to(owner.word, "rw"))
    return {
        "files": "/console",
        "shared": "/console/shared",
        "groups": "/console/groups",
        "browser": f"/console/f/{corpus}",
        "directory": f"/console/f/{corpus}/raw",
        "preview": f"/console/f/{corpus}?preview=README.md",
        "table": f"/console/f/{corpus}?preview=counts.csv",
        "search": f"/console/find/{corpus}?match=*.jsonl",
        "jobs": "/console/jobs",
        "job": f"/console/jobs/{job}",
        "trash": "/console/trash",
        "trash-of-folder": f"/console/trash/{corpus}",
        "usage": "/console/usage",
        "account": "/console/account",
        "accept": f"/console/accept/{corpus}",
        "link": f"/console/s/{link['url'].rpartition('/')[2]}",
    }


def take_all(
    browser: Browser, people: People, person: Person | None, pages: dict[str, str], to: Path
) -> None:
    """Take the pages in each look, as a person sees them."""
    for look, options in LOOKS.items():
        context = browser.new_context(**options)
        if person:
            sign_in = f"{people.door.url}/v1/signin"
            assert context.request.post(sign_in, headers=person.headers).status == 204
        page = context.new_page()
        for name, address in pages.items():
            page.goto(f"{people.door.url}{address}")
            _rest(page)
            path = to / f"{name}-{look}.jpg"
            page.screenshot(path=path, type="jpeg", quality=_QUALITY, animations="disabled")
        context.close()


def _rest(page: Page) -> None:
    """Wait until nothing of the page is still to come."""
    expect(page.locator("main h1, main h2").first).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
