"""Uploads from the console that meet a kill, a change by another person, and no network."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.names import VFolderId
from tests.api.people.console.conftest import Console
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
FILES = 2000
#: So many have arrived when the page is killed.
KILLED_AT = 300
FEW = 400
BIG_BYTES = 40_000_000
#: Each file takes a hundredth of a second; a loaded machine needs thirty times that.
LONG_MS = 900_000


def opened(console: Console, vfolder: VFolderId, path: str = "") -> Page:
    page = console.open(console.owner, f"/console/f/local:{vfolder.id}{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


def tree_of(tmp_path: Path, count: int) -> Path:
    """A directory of tiny files, each with bytes of its own, one of them empty."""
    tree = tmp_path / "tree"
    for number in range(count):
        path = tree / f"part-{number % 7}" / f"{number:04}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number) * (number % 5))
    return tree


def contents(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }


def send(page: Page, kind: str, what: Path) -> None:
    page.locator(f"[data-upload={kind}]").set_input_files(what)


def arrived(page: Page, root: Path, count: int) -> None:
    """Wait until so many files are there; the page works meanwhile."""
    wait_for(lambda: page.wait_for_timeout(50) or len(contents(root)) >= count, 300)


@pytest.mark.slow
def test_a_directory_whose_upload_was_killed_is_sent_again_and_whole(
    console: Console, tmp_path: Path
) -> None:
    """The browser that goes on remembers nothing: the server says what has arrived."""
    console.expected.append("412")
    tree = tree_of(tmp_path, FILES)
    folder = console.folder()
    root = console.people.path(folder)
    page = opened(console, folder)
    send(page, "directory", tree)
    arrived(page, root, KILLED_AT)
    page.context.close()
    assert len(contents(root)) < FILES
    page = opened(console, folder)
    send(page, "directory", tree)
    expect(page.get_by_text(f"{FILES:,} files uploaded.").first).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("needs you")).to_have_count(0)
    assert contents(root / "tree") == contents(tree)
    assert [one.name for one in root.iterdir()] == ["tree"]


def test_a_newer_version_of_another_person_is_asked_about(console: Console, tmp_path: Path) -> None:
    console.expected.append("412")
    folder = console.folder(**{"taken.txt": "old"})
    there = console.people.path(folder) / "taken.txt"
    (tmp_path / "taken.txt").write_text("ours")
    page = opened(console, folder)
    send(page, "files", tmp_path / "taken.txt")
    tray = page.get_by_role("region", name="Uploads")
    expect(tray.get_by_text("The name is taken. What is there has 3 B")).to_be_visible()
    there.write_text("newer by another user")
    tray.get_by_role("button", name="Replace", exact=True).click()
    expect(
        tray.get_by_text("Another person changed it meanwhile. What is there has 21 B")
    ).to_be_visible()
    assert there.read_text() == "newer by another user"
    console.check(page)
    tray.get_by_role("button", name="Replace", exact=True).click()
    expect(tray.get_by_text("1 file uploaded.").first).to_be_visible()
    assert there.read_text() == "ours"


def test_browsing_and_uploads_go_on_when_the_network_is_back(
    console: Console, tmp_path: Path
) -> None:
    console.expected += ["412", "ERR_INTERNET_DISCONNECTED"]
    tree = tree_of(tmp_path, FEW)
    with (tree / "big.bin").open("wb") as file:
        file.truncate(BIG_BYTES)
    folder = console.folder()
    root = console.people.path(folder)
    (root / "inside").mkdir()
    (root / "inside/found.txt").write_text("x")
    page = opened(console, folder)
    send(page, "directory", tree)
    arrived(page, root, FEW // 10)
    page.context.set_offline(True)
    expect(page.get_by_text("You are offline.")).to_be_visible()
    expect(page.get_by_role("region", name="Uploads")).to_contain_text("Offline.")
    page.get_by_role("link", name="Directory: inside").click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    assert len(contents(root)) < FEW
    page.context.set_offline(False)
    expect(page.get_by_role("row", name="found.txt")).to_be_visible()
    expect(page.get_by_text("You are offline.")).to_have_count(0)
    expect(page.get_by_text(f"{FEW + 1} files uploaded.").first).to_be_visible(timeout=LONG_MS)
    assert contents(root / "tree") == contents(tree)
