"""The details of an entry: what is known of it, and its digest when asked for."""

from hashlib import sha256

import pytest
from playwright.sync_api import Page, expect

from tests.api.people.console.conftest import Console

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
LARGE_BYTES = 100 << 20


def details(page: Page, name: str) -> None:
    page.get_by_role("row", name=name).click(button="right")
    page.get_by_role("menuitem", name="Details").click()


def test_the_digest_of_a_file_is_computed_when_asked_for(console: Console) -> None:
    console.expected.append("412")
    folder = console.folder(**{"a.txt": "some text"})
    root = console.people.path(folder)
    with (root / "large.bin").open("wb") as file:
        file.truncate(LARGE_BYTES)
    page = console.open(console.owner, f"/console/f/local:{folder.id}")
    details(page, "a.txt")
    dialog = page.get_by_role("dialog")
    for fact in ("Kind", "Size", "Changed", "Attributes changed", "Mode", "Owner"):
        expect(dialog.get_by_text(fact, exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Compute checksum").click()
    expect(dialog.get_by_text(sha256(b"some text").hexdigest())).to_be_visible()
    console.check(page)
    page.keyboard.press("Escape")
    details(page, "a.txt")
    expect(dialog.get_by_role("button", name="Compute checksum")).to_be_visible()
    (root / "a.txt").write_text("another text")
    dialog.get_by_role("button", name="Compute checksum").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It changed meanwhile.")
    page.keyboard.press("Escape")
    details(page, "large.bin")
    expect(dialog.get_by_text("sha256sum")).to_be_visible()
