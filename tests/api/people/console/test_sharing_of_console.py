"""Sharing, keys, previews, search, the trash, and the page of a link for visitors."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.api.people.console.conftest import Console
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]


def png() -> bytes:
    """A picture of one dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


def test_a_folder_is_shared_and_the_share_is_taken_back(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a"})
    friend = console.people.person()
    page = console.open(console.owner, f"/console/f/local:{folder.id}")
    page.get_by_role("button", name="More of this folder").click()
    page.get_by_role("menuitem", name="Share").click()
    page.get_by_label("Share with").fill(friend.word)
    page.get_by_role("button", name="Share", exact=True).click()
    permission = page.get_by_role("combobox", name=re.compile("What user"))
    expect(permission).to_have_value("ro")
    console.check(page)
    permission.select_option("rwd")
    theirs = console.open(friend, "/console/shared")
    row = theirs.get_by_role("row", name=str(folder.id))
    expect(row).to_contain_text("read, write, delete")
    page.get_by_role("button", name=re.compile("Revoke what")).click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("Only you can see this folder.")).to_be_visible()
    theirs.reload()
    expect(theirs.get_by_text("No one shares a folder with you.")).to_be_visible()


def test_a_visitor_reads_and_drops_by_links(console: Console, tmp_path: Path) -> None:
    folder = console.folder(**{"a.txt": "a"})
    root = console.people.path(folder)
    (root / "inbox").mkdir()
    page = console.open(console.owner, f"/console/f/local:{folder.id}")

    def link(name: str, kind: str, password: str = "") -> str:
        page.get_by_role("row", name=name).click(button="right")
        page.get_by_role("menuitem", name="Share link").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Link", exact=True).select_option(kind)
        if password:
            dialog.get_by_label("Password").fill(password)
        dialog.get_by_role("button", name="Make link").click()
        text = dialog.locator(".once code").inner_text()
        console.check(page)
        page.keyboard.press("Escape")
        return text

    reading, dropping = link("a.txt", "read", "open sesame"), link("Directory: inbox", "drop")
    console.expected.append("401")
    visitor = console.open(None, "/console")
    visitor.goto(reading)
    visitor.get_by_label("Password").fill("open sesame")
    visitor.get_by_role("button", name="Open link").click()
    console.check(visitor)
    with visitor.expect_download() as download:
        visitor.get_by_role("link", name="Download").click()
    assert download.value.path().read_text() == "a"
    visitor.goto(dropping)
    (tmp_path / "mine.txt").write_text("from a visitor")
    visitor.locator("[data-upload=files]").set_input_files(tmp_path / "mine.txt")
    expect(visitor.get_by_role("list", name="Uploads")).to_contain_text("Done")
    assert (root / "inbox/mine.txt").read_text() == "from a visitor"
    console.expected.append("404")
    visitor.goto(f"{dropping}x")
    expect(visitor.get_by_text("There is no such link.")).to_be_visible()
    console.check(visitor)


def test_a_key_is_made_shown_once_and_revoked(console: Console) -> None:
    page = console.open(console.people.person(), "/console/account")
    page.get_by_role("button", name="Make key").click()
    page.get_by_role("textbox", name="Name").fill("ci")
    console.check(page)
    page.get_by_role("dialog").get_by_role("button", name="Make key").click()
    key = page.locator(".once code").inner_text()
    me = console.people.door.call("GET", "/v1/me", headers={"Authorization": f"Bearer {key}"})
    assert me.status_code == 200
    page.keyboard.press("Escape")
    expect(page.get_by_text("ci", exact=True)).to_be_visible()
    assert key not in page.content()
    console.check(page)
    page.get_by_role("button", name="Revoke ci").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("Revoked")).to_be_visible()
    page.get_by_label("Language").select_option("ko")
    expect(page.get_by_role("heading", name="계정")).to_be_visible()
    page.get_by_role("combobox", name="테마").select_option("dark")
    page.reload()
    expect(page.get_by_role("heading", name="계정")).to_be_visible()
    assert page.evaluate(
        "document.documentElement.lang + document.documentElement.dataset.theme"
    ) == ("kodark")
    console.check(page)


def test_files_are_looked_into_and_none_runs(console: Console) -> None:
    script = "<script>document.title = 'ran'</script>"
    folder = console.folder(
        **{"a.html": script, "b.svg": f"<svg>{script}</svg>", "c.csv": 'x,y\n"1,5",2\n'}
    )
    root = console.people.path(folder)
    (root / "d.png").write_bytes(png())
    (root / "e.bin").write_bytes(b"\0\1\2binary")
    (root / "f.txt").write_bytes("größe".encode("cp1252"))
    page = console.open(console.owner, f"/console/f/local:{folder.id}")
    page.get_by_role("row", name="a.html").dblclick()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("pre")).to_have_text(script)
    page.get_by_role("button", name="Next file").click()
    expect(dialog.locator("pre")).to_contain_text("<svg>")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("cell", name="1,5")).to_be_visible()
    console.check(page)
    page.keyboard.press("ArrowRight")
    picture = dialog.get_by_role("img", name="d.png")
    expect(picture).to_be_visible()
    wait_for(lambda: picture.evaluate("(one) => one.naturalWidth") == 1)
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("pre")).to_contain_text("00 01 02 62")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("größe")
    expect(dialog).to_contain_text("Windows-1252")
    page.get_by_role("button", name="Follow the end").click()
    with (root / "f.txt").open("a") as file:
        file.write("\nnew line")
    expect(dialog.locator("pre")).to_contain_text("new line")
    expect(page).to_have_url(re.compile("preview=f.txt"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "ran" not in page.title()


def test_entries_are_found_and_removed_ones_come_back(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a"})
    root = console.people.path(folder)
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er/found.h5").write_text("h5")
    page = console.open(console.owner, f"/console/find/local:{folder.id}?match=*.h5")
    row = page.get_by_role("row", name="deep/er/found.h5")
    expect(row).to_be_visible()
    console.check(page)
    row.click(button="right")
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.get_by_text("Nothing matches *.h5")).to_be_visible()
    page.goto(f"{console.people.door.url}/console/trash/local:{folder.id}")
    kept = page.get_by_role("row", name="found.h5")
    expect(kept).to_be_visible()
    console.check(page)
    kept.click(button="right")
    page.get_by_role("menuitem", name="Restore").click()
    expect(page.get_by_text("Trash is empty.")).to_be_visible()
    assert (root / "deep/er/found.h5").read_text() == "h5"
    page.goto(f"{console.people.door.url}/console/usage")
    page.get_by_role("row", name=str(folder.id)).click(button="right")
    page.get_by_role("menuitem", name="Count now").click()
    expect(page.get_by_text(re.compile("holds 3 B"))).to_be_visible()
    console.check(page)
