"""The browser of a folder: entries of every name, acts with undo, uploads that survive a reload."""

import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Request, expect

from core.names import VFolderId
from tests.api.people.conftest import grant_to
from tests.api.people.console.conftest import PATIENCE_MS, PHONE, Console
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
MANY = 20_000
FILES = 220
#: A part takes seconds.
SLOW_BYTES_PER_SECOND = 8_000_000
BIG_BYTES = 80_000_000


def opened(console: Console, vfolder: VFolderId, path: str = "", **more: bool) -> Page:
    page = console.open(console.owner, f"/console/f/local:{vfolder.id}{path}", **more)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


def send(page: Page, kind: str, what: Path | list[Path]) -> None:
    page.locator(f"[data-upload={kind}]").set_input_files(what)


def test_entries_are_renamed_deleted_and_taken_back_by_keys_alone(console: Console) -> None:
    folder = console.folder(**{"notes.txt": "x", "zebra.txt": "z"})
    root = console.people.path(folder)
    page = opened(console, folder)
    console.check(page)
    page.get_by_role("grid").focus()
    page.keyboard.type("no")
    page.keyboard.press("F2")
    page.get_by_role("textbox", name="Name").fill("renamed.txt")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="renamed.txt")).to_be_visible()
    assert (root / "renamed.txt").exists()
    page.keyboard.press("Control+z")
    expect(page.get_by_role("row", name="notes.txt")).to_be_visible()
    page.get_by_role("grid").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    expect(page.get_by_text("notes.txt moved to the trash.")).to_be_visible()
    assert not (root / "notes.txt").exists()
    page.keyboard.press("Control+z")
    expect(page.get_by_role("row", name="notes.txt")).to_be_visible()
    assert (root / "notes.txt").read_text() == "x"
    page.get_by_role("grid").focus()
    page.keyboard.press("Control+a")
    expect(page.get_by_role("toolbar")).to_contain_text("2 selected")
    expect(page).to_have_url(re.compile(r"sel="))
    page.reload()
    expect(page.get_by_role("toolbar")).to_contain_text("2 selected")
    page.get_by_role("button", name="Refresh").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Rename")


def test_directories_are_made_and_entries_are_moved_and_copied(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a", "b.txt": "b"})
    root = console.people.path(folder)
    page = opened(console, folder)
    page.get_by_role("button", name="New directory").click()
    page.get_by_role("textbox", name="Name").fill("sub/x")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("no “/”")
    page.get_by_role("textbox", name="Name").fill("sub")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="Directory: sub")).to_be_visible()
    page.get_by_role("row", name="a.txt").click()
    page.get_by_role("toolbar").get_by_role("button", name="Move to").click()
    page.get_by_role("dialog").get_by_role("button", name="sub").click()
    console.check(page)
    page.get_by_role("button", name="Move here").click()
    expect(page.get_by_text("1 entry moved to sub.")).to_be_visible()
    assert (root / "sub/a.txt").read_text() == "a"
    page.get_by_role("row", name="b.txt").click()
    page.get_by_role("grid").focus()
    page.keyboard.press("Control+c")
    page.get_by_role("link", name="Directory: sub").click()
    page.get_by_role("button", name="Paste b.txt").click()
    expect(page.get_by_role("row", name="b.txt")).to_be_visible()
    assert (root / "sub/b.txt").read_text() == "b"
    assert (root / "b.txt").exists()
    page.go_back()
    expect(page.get_by_role("row", name="Directory: sub")).to_be_visible()
    other = console.folder()
    page.get_by_role("row", name="b.txt").click()
    page.get_by_role("toolbar").get_by_role("button", name="Move to").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Folder").select_option(f"local:{other.id}")
    dialog.get_by_role("button", name="Move here").click()
    expect(page.get_by_text(f"1 entry moved to {other.id}.")).to_be_visible()
    assert (console.people.path(other) / "b.txt").read_text() == "b"
    assert not (root / "b.txt").exists()


def test_names_that_are_no_text_are_shown_and_can_be_worked_with(console: Console) -> None:
    folder = console.folder(**{"<img src=x onerror=alert(1)>": "x", "evil\u202etxt.exe": "x"})
    root = console.people.path(folder)
    (root / os.fsdecode(b"dir-\xff")).mkdir()
    (root / os.fsdecode(b"dir-\xff/in\xfeside")).write_text("deep")
    page = opened(console, folder)
    expect(page.get_by_role("row", name="<img src=x onerror=alert(1)>")).to_be_visible()
    expect(page.get_by_text(r"evil\u202etxt.exe")).to_be_visible()
    page.get_by_role("link", name=r"dir-\xff").click()
    row = page.get_by_role("row", name=r"in\xfeside")
    expect(row).to_be_visible()
    page.reload()
    expect(row).to_be_visible()
    with page.expect_download() as download:
        row.click(button="right")
        page.get_by_role("menuitem", name="Download").click()
    assert download.value.path().read_text() == "deep"
    row.click()
    page.get_by_role("toolbar").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert not list((root / os.fsdecode(b"dir-\xff")).iterdir())


def test_who_may_only_read_is_offered_nothing_else(console: Console) -> None:
    folder = console.folder(**{"file.txt": "x"})
    friend = console.people.person()
    console.people.grant(folder, grant_to(friend.word, "ro"))
    page = console.open(friend, f"/console/f/local:{folder.id}")
    row = page.get_by_role("row", name="file.txt")
    row.click(button="right")
    offered = page.get_by_role("menu").get_by_role("menuitem").all_inner_texts()
    assert offered == ["Look inside", "Download", "Copy to …", "Copy path", "Details"]
    page.keyboard.press("Escape")
    for name in ("Upload", "New directory"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    stranger = console.open(console.people.person(), f"/console/f/local:{folder.id}")
    console.expected.append("404")
    expect(stranger.get_by_role("alert")).to_contain_text("may not see it")
    console.check(stranger)


def test_a_big_directory_is_listed_filtered_and_walked_to_its_end(console: Console) -> None:
    folder = console.folder()
    root = console.people.path(folder)
    for number in range(MANY):
        os.close(os.open(root / f"file-{number:06}", os.O_CREAT | os.O_WRONLY))
    page = opened(console, folder)
    expect(page.get_by_text("20,000 entries", exact=True)).to_be_visible()
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(MANY + 1))
    assert page.locator(".grid-row").count() < 100
    grid.focus()
    page.keyboard.press("End")
    expect(page.get_by_role("row", name="file-019999")).to_be_visible()
    page.keyboard.press("Control+a")
    expect(page.get_by_role("toolbar")).to_contain_text("20,000 selected")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("file-0012?4")
    expect(page.get_by_text("10 of 20,000 entries match.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"q=file"))
    longest = page.evaluate(
        """async () => {
            document.querySelector("input[type=search]").value = "";
            const box = document.querySelector(".grid-box"), gaps = [];
            let last = performance.now();
            for (let step = 0; step < 60; step++) {
                box.scrollTop = box.scrollHeight * step / 60;
                await new Promise(requestAnimationFrame);
                gaps.push(performance.now() - last);
                last = performance.now();
            }
            return gaps.sort((a, b) => a - b)[Math.floor(gaps.length * 0.5)];
        }"""
    )
    assert longest < 500, "rows are made for what is seen only"


def test_a_directory_is_uploaded_and_asks_about_names_that_are_taken(
    console: Console, tmp_path: Path
) -> None:
    console.expected.append("412")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    for number in range(FILES):
        (tree / f"deep/{number}.txt").write_text(str(number))
    folder = console.folder(**{"taken.txt": "old"})
    root = console.people.path(folder)
    page = opened(console, folder)
    send(page, "directory", tree)
    uploaded = page.get_by_text(f"{FILES} files uploaded.").first
    expect(uploaded).to_be_visible(timeout=3 * PATIENCE_MS)  # each file is an upload of its own
    assert len(list((root / "tree/deep").iterdir())) == FILES
    assert page.locator(".tray-rows > li").count() <= 201
    page.get_by_role("button", name="Clear").click()
    (tmp_path / "taken.txt").write_text("new")
    for answer, name in (("Skip", ""), ("Keep both", "taken (2).txt"), ("Replace", "taken.txt")):
        send(page, "files", tmp_path / "taken.txt")
        tray = page.get_by_role("region", name="Uploads")
        expect(page.get_by_role("banner").get_by_text("1 upload needs you")).to_be_visible()
        tray.get_by_role("button", name=answer, exact=True).click()
        expect(tray.get_by_text("uploaded.").first).to_be_visible()
        page.get_by_role("button", name="Clear").click()
        if name:
            assert (root / name).read_text() == "new"
        else:
            assert (root / "taken.txt").read_text() == "old"


def test_an_upload_goes_on_after_a_reload(console: Console, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(BIG_BYTES)
        file.seek(BIG_BYTES - 5)
        file.write(b"end!\n")
    folder = console.folder()
    page = opened(console, folder)
    page.on("dialog", lambda dialog: dialog.accept())
    offsets: list[int] = []

    def sends(request: Request) -> None:
        if request.method == "PATCH" and "/v1/uploads/" in request.url:
            offsets.append(int(request.headers["upload-offset"]))

    page.on("request", sends)
    network = console.contexts[-1].new_cdp_session(page)
    network.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    slow = limits | {"uploadThroughput": SLOW_BYTES_PER_SECOND}  # the end must not come before
    network.send("Network.emulateNetworkConditions", slow)
    send(page, "files", big)
    wait_for(lambda: page.wait_for_timeout(5) or any(offsets), 60)
    page.reload()
    network.send("Network.emulateNetworkConditions", limits | {"uploadThroughput": -1})
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    sent = max(offsets)
    offsets.clear()
    send(page, "files", big)
    expect(page.get_by_text("1 file uploaded.").first).to_be_visible()
    assert offsets
    assert min(offsets) >= sent > 0
    assert (console.people.path(folder) / "big.bin").read_bytes()[-5:] == b"end!\n"
    kept = page.evaluate("JSON.stringify({...localStorage})")
    assert "big.bin" not in kept
    assert str(folder.id) not in kept


def test_a_path_can_be_typed_and_everything_fits_a_phone(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a"})
    root = console.people.path(folder)
    (root / "one/two three/four").mkdir(parents=True)
    console.people.group(admins=(console.owner,))
    page = opened(console, folder, phone=True)
    for button in (page.locator("[data-menu]").first, console.link(page, "Usage")):
        box = button.bounding_box()
        assert box
        assert box["x"] + box["width"] <= PHONE["width"]
    page.get_by_role("button", name="Type a path").click()
    page.get_by_label("Path", exact=True).fill("one/two three/four")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(quote("two three/four")))
    expect(page.get_by_text("Empty. Drop files here")).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    console.check(page)
