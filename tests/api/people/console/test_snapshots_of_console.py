"""Snapshots in the console, on a real btrfs: made, looked into, restored to a new folder."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.api.people.conftest import People, running_people
from tests.api.people.console.conftest import Console
from tests.api.people.test_people_snapshots import MORE, ON_BTRFS, VOLUME
from tests.support.loops import mounted

pytestmark = [
    pytest.mark.part("btrfs"),
    pytest.mark.part("chromium"),
    pytest.mark.part("npm-packages"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(tmp_path_factory.mktemp("btrfs"), make, size_bytes=256 << 20) as top:
        more = MORE + ON_BTRFS.format(top=top)
        with running_people(tmp_path_factory.mktemp("kept"), more, VOLUME) as found:
            yield found


def test_a_snapshot_is_made_and_looked_into(kept: People, chromium: Browser) -> None:
    console = Console(kept, chromium, kept.person())
    answer = kept.call(console.owner, "POST", "/v1/vfolders", {"name": "corpus", "volume": VOLUME})
    folder = answer.json()["id"]
    top = kept.settings.volume_path(kept.settings.volume[VOLUME])
    path = next(top.glob("*/??/??/*"))
    (path / "deep").mkdir()
    (path / "deep/a.txt").write_text("before")
    page = console.open(console.owner, f"/console/snapshots/{VOLUME}:{folder}")
    expect(page.get_by_text("No snapshots yet.")).to_be_visible()
    page.get_by_role("button", name="Make snapshot").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill("monday")
    page.get_by_role("dialog").get_by_role("button", name="Make snapshot").click()
    expect(page.get_by_role("row", name="monday")).to_be_visible()
    (path / "deep/a.txt").write_text("after")
    page.get_by_role("row", name="monday").dblclick()
    page.get_by_role("row", name="deep").get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/console/snapshots/{VOLUME}:{folder}/monday/deep$"))
    console.check(page)
    page.get_by_role("row", name="a.txt").dblclick()
    expect(page.get_by_role("dialog").locator("pre")).to_have_text("before")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.path().read_text() == "before"
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Snapshots of corpus").click()
    page.get_by_role("row", name="monday").click(button="right")
    page.get_by_role("menuitem", name="Restore over this folder").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore over this folder").click()
    expect(page.get_by_text("corpus is as it was at monday.")).to_be_visible()
    assert next(top.glob("*/??/??/*/deep/a.txt")).read_text() == "before"
    console.end()
