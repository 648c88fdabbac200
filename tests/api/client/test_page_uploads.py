"""The page for an upload ticket in a real browser: what it refuses, asks, waits for and shows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.waiting import eventually
from tests.api.client.chromium import SLOW_BYTES_PER_SECOND, Browser, browser
from tests.api.client.conftest import Folder
from tests.api.client.test_uploads import staged

pytestmark = pytest.mark.part("chromium")

TOTAL = "document.getElementById('total').textContent"
ENDED = ["done", "failed", "exists", "cancelled"]
BIG_BYTES = 20 << 20


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as made:
        made.call("Network.enable")
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "data"
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    return top


def open_page(seen: Browser, url: str) -> None:
    page = url.replace("/upload?", "/page?")
    seen.open(page)
    seen.until(f"location.href === '{page}' && !document.getElementById('upload').hidden")


def network(seen: Browser, *, offline: bool = False, speed: int = -1) -> None:
    rates = {"downloadThroughput": -1, "uploadThroughput": speed}
    seen.call("Network.emulateNetworkConditions", offline=offline, latency=0, **rates)


def states(seen: Browser) -> list[str]:
    script = "[...document.querySelectorAll('#list li')].map((one) => one.dataset.state)"
    return sorted(seen.value(script))


def drop(seen: Browser, *names: str) -> None:
    """Drop files of these names, as a script can: without entries of a file system."""
    seen.value(
        f"""{{
        const data = new DataTransfer();
        for (const name of {list(names)!r}) data.items.add(new File(["data"], name));
        const event = new DragEvent("drop", {{ dataTransfer: data, cancelable: true }});
        document.getElementById("drop").dispatchEvent(event);
        }}"""
    )


def press(seen: Browser, name: str) -> None:
    script = f"""[...document.querySelectorAll('button')].find(
        (one) => one.getAttribute('aria-label') === {name!r} || one.id === {name!r})"""
    seen.until(f"{script} !== undefined && !{script}.hidden")
    seen.value(f"{script}.click()")


def test_a_ticket_for_one_file_takes_no_other(
    folder: Folder, seen: Browser, tmp_path: Path
) -> None:
    open_page(seen, folder.upload("dir/report.txt", 4))
    assert seen.value("document.getElementById('folder-label').hidden")
    assert not seen.value("document.getElementById('files').multiple")
    assert "dir/report.txt" in seen.value("document.getElementById('about').textContent")
    refused = "document.getElementById('refused').textContent"
    for names in (["other.txt"], ["report.txt", "other.txt"], [f"{n}.txt" for n in range(43)]):
        drop(seen, *names)
        seen.until(f"{refused}.includes('one file')")
        assert (states(seen), seen.value(TOTAL)) == ([], "")
    (tmp_path / "other").write_text("data")
    seen.choose("#files", [tmp_path / "other"])
    seen.until(f"{refused}.includes('Nothing was sent')")
    assert not (folder.path / "dir").exists()
    drop(seen, "report.txt")
    seen.until(f"{TOTAL}.startsWith('1 of 1')")
    assert seen.value(refused) == ""
    assert (folder.path / "dir/report.txt").read_bytes() == b"data"


SHOWN = """[...document.querySelectorAll('#list li')].map((one) =>
    [one.querySelector('.name').textContent.split(' ')[0], one.dataset.state,
     [...one.querySelectorAll('button')].map((act) => act.textContent).join()])"""
BAR = "document.getElementById('all').value"


def test_a_file_that_is_larger_than_the_link_allows(folder: Folder, seen: Browser) -> None:
    open_page(seen, folder.upload("base", 3, tree=True))
    drop(seen, "a.txt")
    seen.until(f"{TOTAL}.includes('1 failed')")
    assert seen.value(TOTAL).startswith("0 of 1")
    assert seen.value(SHOWN) == [["a.txt", "failed", ""]], "it would fail again"
    assert seen.value("document.getElementById('retry').hidden")
    assert seen.value(BAR) == 1, "all is over"


def test_a_folder_is_listed_in_order(folder: Folder, seen: Browser, tmp_path: Path) -> None:
    top = tmp_path / "data"
    top.mkdir()
    for number in (10, 2, 1):
        (top / f"part{number}").write_text("x" * number)
    open_page(seen, folder.upload("base", 9, tree=True))
    seen.choose("#folder", [top])
    seen.until(f"{TOTAL}.startsWith('2 of 3')")
    assert seen.value(SHOWN) == [
        ["data/part1", "done", ""],
        ["data/part2", "done", ""],
        ["data/part10", "failed", ""],
    ]
    assert seen.value(BAR) == 1


def test_a_ticket_that_is_not_valid(folder: Folder, seen: Browser) -> None:
    """A broken one is named as such; what the service refuses for good is not tried again."""
    url = folder.upload("base", 9, tree=True)
    address, token = url.replace("/upload?", "/page?").split("token=")
    about = "document.getElementById('about').textContent"
    for broken, words in (("abc", "is not valid"), ("a.e30.c", "is not valid"), ("", "needs")):
        page = f"{address}token={broken}"
        seen.open(page)
        seen.until(f"location.href === '{page}' && {about}.includes({words!r})")
    head, claims, _ = token.split(".")
    open_page(seen, f"{address}token={head}.{claims}.{'A' * 43}")
    drop(seen, "a.txt")
    seen.until(f"{TOTAL}.includes('1 failed')")
    assert seen.value(SHOWN) == [["a.txt", "failed", ""]]
    assert seen.value("document.getElementById('retry').hidden")


def test_overwriting_asks(folder: Folder, seen: Browser, source: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        folder.write(f"base/data/{name}", b"old")
    open_page(seen, folder.upload("base", 100, tree=True))
    seen.choose("#folder", [source])
    seen.until(f"{TOTAL}.startsWith('1 of 3') && {TOTAL}.includes('2 exist already')")
    assert (folder.path / "base/data/a.txt").read_bytes() == b"old"
    seen.screenshot(tmp_path / "wide.png")
    press(seen, "Skip data/a.txt")
    press(seen, "Replace data/b.txt")
    seen.until(f"{TOTAL}.startsWith('2 of 2')")
    found = {name: (folder.path / "base/data" / name).read_text() for name in ("a.txt", "b.txt")}
    assert found == {"a.txt": "old", "b.txt": "b.txt"}


def test_finished_files_are_not_sent_again(folder: Folder, seen: Browser, source: Path) -> None:
    url = folder.upload("base", 100, tree=True)
    inodes = []
    for _ in range(2):
        open_page(seen, url)
        seen.choose("#folder", [source])
        seen.until(f"{TOTAL}.startsWith('3 of 3')")
        seen.choose("#folder", [source])  # and nothing on the page that they are in
        assert states(seen) == ["done"] * 3
        inodes.append({one.name: one.stat().st_ino for one in folder.path.rglob("*.txt")})
    assert inodes[0] == inodes[1]


def test_offline_waits_and_goes_on(folder: Folder, seen: Browser, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(BIG_BYTES))
    open_page(seen, folder.upload("base", BIG_BYTES, tree=True))
    network(seen, speed=SLOW_BYTES_PER_SECOND)
    seen.choose("#files", [big])
    eventually(lambda: any(one.stat().st_size for one in staged(folder)))
    network(seen, offline=True)
    seen.until("document.querySelector('#list li').dataset.state === 'offline'")
    assert seen.value(TOTAL).startswith("0 of 1")
    network(seen)
    seen.until(f"{TOTAL}.startsWith('1 of 1')")
    assert (folder.path / "base/big.bin").read_bytes() == big.read_bytes()


def test_cancel_and_retry(folder: Folder, seen: Browser, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(BIG_BYTES))
    open_page(seen, folder.upload("base", BIG_BYTES, tree=True))
    network(seen, speed=SLOW_BYTES_PER_SECOND)
    seen.choose("#files", [big])
    eventually(lambda: any(one.stat().st_size for one in staged(folder)))
    press(seen, "cancel")
    network(seen)
    eventually(lambda: staged(folder) == [])
    assert states(seen) == ["cancelled"]
    press(seen, "Retry big.bin")
    seen.until(f"{TOTAL}.startsWith('1 of 1')")
    assert (folder.path / "base/big.bin").read_bytes() == big.read_bytes()


def test_a_narrow_screen_and_the_keyboard(
    folder: Folder, seen: Browser, source: Path, tmp_path: Path
) -> None:
    screen = {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    seen.call("Emulation.setDeviceMetricsOverride", **screen)
    folder.write("base/data/a.txt", b"old")
    open_page(seen, folder.upload("base", 100, tree=True))
    seen.choose("#folder", [source])
    seen.until(f"{TOTAL}.startsWith('2 of 3')")
    assert seen.value("document.documentElement.scrollWidth") <= 360
    seen.screenshot(tmp_path / "narrow.png")
    seen.value("document.getElementById('drop').focus()")
    seen.value(
        "document.getElementById('files').addEventListener("
        "'click', (event) => { event.preventDefault(); window.opened = true; })"
    )
    for kind in ("keyDown", "keyUp"):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        seen.call("Input.dispatchKeyEvent", type=kind, **key)
    seen.until("window.opened === true")
    names = "[...document.querySelectorAll('button')].every((one) => one.textContent)"
    assert seen.value(names)


def test_a_link_whose_path_the_service_keeps(folder: Folder, seen: Browser) -> None:
    open_page(seen, folder.upload("", 100, tree=True, selection="0" * 64))
    assert seen.value("document.title") == "Upload files"
    about = seen.value("document.getElementById('about').textContent")
    assert about.startswith("Files are stored in the directory of this link, each of at most 100 B")
