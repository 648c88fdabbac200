"""The page for a ticket as a page of the console: its look, its languages, and a phone."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.names import VFolderId
from tests.api.people.console.conftest import Console

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
LONG = "2026-05_experiment-results.final_version_of_everything.tar.gz"
#: The signs on both sides of each break of a line in the names of a page.
BREAKS = """() => [...document.querySelectorAll("#list .name")].flatMap((name) => {
    const signs = [], walker = document.createTreeWalker(name, NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
        for (let at = 0; at < walker.currentNode.length; at++) {
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + 1);
            signs.push([walker.currentNode.data[at], range.getBoundingClientRect().top]);
        }
    return signs.flatMap(([sign, top], at) =>
        at && top - signs[at - 1][1] > 8 ? [[signs[at - 1][0], sign]] : []);
})"""


def ticket(console: Console, vfolder: VFolderId) -> str:
    """The address of the page for uploads below a directory."""
    body = {"act": "upload", "path": "inbox", "tree": True, "size": 1 << 20}
    where = f"/v1/vfolders/local:{vfolder.id}/tickets"
    made = console.people.call(console.owner, "POST", where, body).json()
    return f"/page?token={made['token']}"


def ground(page: Page) -> str:
    """The colour behind the page."""
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_names_break_between_their_words_on_a_phone(console: Console, tmp_path: Path) -> None:
    console.expected.append("412")
    folder = console.folder()
    root = console.people.path(folder)
    (root / "inbox/data").mkdir(parents=True)
    (root / "inbox/data/taken.txt").write_text("old")
    (tmp_path / "data").mkdir()
    for name in (LONG, "taken.txt"):
        (tmp_path / "data" / name).write_text("new")
    page = console.open(None, ticket(console, folder), phone=True)
    page.locator("#folder").set_input_files(tmp_path / "data")
    expect(page.locator("#total")).to_contain_text("1 of 2 files uploaded")
    expect(page.locator("#total")).to_contain_text("1 exists already")
    breaks = page.evaluate(BREAKS)
    assert breaks
    assert all(before in "/-_" or after == "." for before, after in breaks), breaks
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    console.check(page)
    page.get_by_role("button", name="Replace data/taken.txt").click()
    expect(page.locator("#total")).to_contain_text("2 of 2 files uploaded")
    assert (root / "inbox/data/taken.txt").read_text() == "new"
    assert (root / "inbox/data" / LONG).read_text() == "new"


def test_it_has_the_look_and_the_language_of_the_console(console: Console) -> None:
    address = ticket(console, console.folder())
    page = console.open(console.owner)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    grounds = {}
    for theme in ("light", "dark"):
        taste = json.dumps({"theme": theme, "language": "ko"})
        page.goto(f"{console.people.door.url}/console")
        page.evaluate("(taste) => localStorage.setItem('vfolder.taste', taste)", taste)
        page.reload()
        expect(page.get_by_role("heading", name="파일")).to_be_visible()
        grounds[theme] = ground(page)
        page.goto(f"{console.people.door.url}{address}")
        expect(page.get_by_role("heading", name="여러 파일 업로드")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "ko")
        assert ground(page) == grounds[theme]
        console.check(page)
    assert grounds["light"] != grounds["dark"]
